"""What a figure that was measured with several seeds is worth."""

import numpy as np

__all__ = ["mean_and_error", "standard_error"]


def standard_error(values: np.ndarray) -> float:
    """Of the mean over the first axis; 0 for one value, of which it cannot be known."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean over seeds, and its standard error."""
    return float(np.mean(values)), standard_error(values)
