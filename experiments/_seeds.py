"""What a figure that was measured with several seeds is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import jfractal as jf
from experiments.run import Options

__all__ = ["SeedsOptions", "mean_and_error", "mean_curve", "shown", "standard_error", "with_errors"]


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


def shown(values: np.ndarray, digits: int = 3) -> str:
    """The mean over seeds and its standard error, which one seed has not, for a table."""
    numbers = mean_and_error(values)[: len(values)]
    return " ± ".join(f"{number:.{digits}f}" for number in numbers)


def mean_curve(
    positions: Sequence[float], values: np.ndarray
) -> tuple[list[float], list[float], list[float]]:
    """The mean over seeds at each position and its standard error, for `viz.curves`.

    Args:
        positions: Where the curve is known.
        values: "seeds positions".
    """
    means, errors = zip(*map(mean_and_error, values.T), strict=True)
    return list(positions), list(means), list(errors)


def with_errors(figures: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Entries of result.json: each mean over seeds and, of several, ``…_se``, its error."""
    return {
        key: number
        for name, values in figures.items()
        for key, number in zip((name, f"{name}_se")[: len(values)], mean_and_error(values))
    }
