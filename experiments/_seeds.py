"""What a figure that was measured with several seeds is worth."""

from dataclasses import dataclass

import numpy as np

import jfractal as jf
from experiments.run import Options

__all__ = ["SeedsOptions", "mean_and_error", "standard_error"]


@dataclass(frozen=True)
class SeedsOptions(Options):
    """What an experiment can be told that repeats itself."""

    num_seeds: int = 3
    """Runs of each method, with draws of their own."""

    def __post_init__(self):
        if self.num_seeds < 1:
            raise jf.InputError(f"`num_seeds` must be at least 1, got {self.num_seeds}")


def standard_error(values: np.ndarray) -> float:
    """Of the mean over the first axis; 0 for one value, of which it cannot be known."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean over seeds, and its standard error."""
    return float(np.mean(values)), standard_error(values)
