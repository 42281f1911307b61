"""The spread of a posterior: standard deviations and signal-to-noise, leaf by leaf."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jfractal.arguments import check_functions, described
from jfractal.errors import InputError
from jfractal.posterior import Posterior
from jfractal.posterior.gaussian import Where, everywhere, named_leaves
from jfractal.viz.style import GREY, InlineFigure, colours, styled

__all__ = ["posterior_spread"]

MOST = 300  # leaves, beyond which their names cannot be read
QUANTILES = (0.05, 0.5, 0.95)


@styled
def posterior_spread(posterior: Posterior, *, where: Where = everywhere) -> Figure:
    """Draws σ and ``|mean| / σ`` of the weights, with a line for each leaf of the tree.

    A line reaches from the 5 % to the 95 % quantile over the weights of a leaf, with a dot at the
    median. If signal-to-noise is below 1, zero is within one standard deviation.

    Args:
        posterior: A posterior with a mean and a variance, from any method.
        where: ``where(path, mean)`` picks the leaves to draw, e.g.
            ``lambda path, mean: "column2_" in path``.

    Returns:
        The figure.

    Raises:
        InputError: If `posterior` is not a posterior of jfractal, or `where` picks too many leaves
            for one picture, or no leaf whose weights have a variance.

    References:
        Blundell et al., "Weight uncertainty in neural networks", ICML 2015, §5.1 and figure 4.
    """
    if not isinstance(posterior, Posterior):
        raise InputError(f"`posterior` must be a posterior of jfractal, got {described(posterior)}")
    check_functions(where=where)
    leaves = _moments(posterior, where)
    if not 0 < len(leaves) <= MOST:
        raise InputError(
            f"`where` must pick from 1 to {MOST} leaves whose weights have a variance, it picks "
            f"{len(leaves)}"
        )
    figure = InlineFigure(figsize=(6.0, 0.8 + 0.16 * len(leaves)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    colour = colours(_columns(leaves))
    for y, (path, (mean, std)) in enumerate(leaves.items()):
        shade = colour[_column(path)]
        _line(left, y, std, shade)
        _line(right, y, np.abs(mean) / std, shade)
    left.set_yticks(range(len(leaves)), [*leaves])
    left.invert_yaxis()
    right.axvline(1.0, color=GREY, linewidth=0.8, linestyle="--")
    left.set_xlabel("standard deviation σ")
    right.set_xlabel("signal to noise |mean| / σ")
    for axes in (left, right):
        low, high = axes.dataLim.intervalx
        if high > 10 * low:  # a log scale of less than a decade has no ticks worth reading
            axes.set_xscale("log")
    return figure


def _moments(posterior: Posterior, where: Where) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and standard deviation of the leaves that have a variance."""
    means, variances = map(dict, map(named_leaves, (posterior.mean(), posterior.variance())))
    moments = {}
    for path, mean in means.items():
        spread = np.sqrt(np.asarray(variances[path], np.float64)).ravel()
        open_to = spread > 0
        if open_to.any() and where(path, mean):
            moments[path] = np.asarray(mean, np.float64).ravel()[open_to], spread[open_to]
    return moments


def _column(path: str) -> str:
    """The column of a fractal net that a leaf belongs to, for its colour."""
    _, found, rest = path.partition("column")
    number = rest.partition("_")[0]
    return f"column {number}" if found and number.isdigit() else "whole net"


def _columns(leaves: dict[str, Any]) -> list[str]:
    return [*dict.fromkeys(map(_column, leaves))]


def _line(axes: Axes, y: int, values: np.ndarray, colour: str):
    low, middle, high = np.quantile(values, QUANTILES)
    axes.plot([low, high], [y, y], color=colour, linewidth=1.2)
    axes.plot([middle], [y], ".", color=colour, markersize=5)
