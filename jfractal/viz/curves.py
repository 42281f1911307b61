"""Curves: one quantity against another, a line for each series."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jfractal.errors import InputError
from jfractal.viz.style import colours, styled

__all__ = ["curves"]

LABEL_HEIGHT = 0.07  # of the height of the axes, from one label to the next


@styled
def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str,
    logy: bool = False,
) -> Figure:
    """Draws one line for each series, with its name at its end.

    Args:
        series: Positions and values by name, ``{name: (xs, ys)}``; ``whole net``, ``column 1``, …
            have colours of their own. A value that is not finite leaves a gap.
        xlabel: What the positions are, e.g. ``epoch``.
        ylabel: What the values are, with their unit, e.g. ``nats per example``.
        logy: Whether the values are on a logarithmic scale.

    Returns:
        The figure.

    Raises:
        InputError: If there is no series, or one has no finite (for `logy`: positive) value or
            unequal lengths.
    """
    colour = colours(series)
    figure = Figure(figsize=(4.2, 2.6), layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel, yscale="log" if logy else "linear")
    ends: dict[str, float] = {}
    for name, (xs, ys) in series.items():
        if np.ndim(xs) != 1 or np.shape(xs) != np.shape(ys):
            raise InputError(
                f"series {name!r} must have as many positions as values, "
                f"got shapes {np.shape(xs)} and {np.shape(ys)}"
            )
        y = np.asarray(ys, float)
        shown = np.isfinite(y) & ((y > 0) | (not logy))
        if not shown.any():
            kind = "positive" if logy else "finite"
            raise InputError(f"series {name!r} must have a {kind} value, got {y}")
        y = np.where(shown, y, np.nan)
        ends[name] = y[shown][-1]
        axes.plot(xs, y, color=colour[name], marker="o" if shown.sum() == 1 else "", label=name)
    _label_ends(axes, ends, colour)
    return figure


def _label_ends(axes: Axes, ends: Mapping[str, float], colour: Mapping[str, str]):
    """Names each curve to the right of the axes, near its end and clear of its neighbours."""
    axes.set_ylim(axes.get_ylim())
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = {name: to_axes.transform((0.0, y))[1] for name, y in ends.items()}
    names = sorted(ends, key=heights.__getitem__)
    wanted = np.array([heights[name] for name in names])
    # Pushed up from below by those before it: y_k = max_j≤k (wanted_j + (k − j)·step).
    steps = LABEL_HEIGHT * np.arange(len(names))
    placed = np.maximum.accumulate(wanted - steps) + steps
    placed -= max(0.0, placed[-1] - 1.0)
    for name, y in zip(names, placed):
        axes.text(
            1.02, y, name, color=colour[name], va="center", transform=axes.transAxes, clip_on=False
        )
