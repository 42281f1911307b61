"""Curves: one quantity against another, with a line for each series."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jfractal.arguments import check_type, described
from jfractal.errors import InputError
from jfractal.viz.series import check_label, named
from jfractal.viz.series import series as numbers
from jfractal.viz.style import InlineFigure, colours, styled

__all__ = ["Curve", "curves"]

Numbers: TypeAlias = Sequence[float]
Curve: TypeAlias = tuple[Numbers, Numbers] | tuple[Numbers, Numbers, Numbers]
"""Positions and values, and optionally the errors of the values."""

BAND_ALPHA = 0.2
SAME = 0.01  # of the range of all values: curves that are no farther apart look like one
STYLES = ("solid", (0, (4, 4)), (0, (1, 4)))
LABEL_HEIGHT = 0.07  # of the height of the axes, from one label to the next


@styled
def curves(
    series: Mapping[str, Curve],
    *,
    xlabel: str,
    ylabel: str,
    logy: bool = False,
) -> Figure:
    """Draws one line for each series, with its name at its end and its errors as a band.

    A line that covers an earlier one is dashed, so that both can be seen.

    Args:
        series: Positions and values by name, ``{name: (xs, ys)}``, or ``(xs, ys, errors)`` for a
            band of ± one error. The names ``whole net``, ``column 1``, … have fixed colours. A
            value that is not finite leaves a gap.
        xlabel: Label of the positions, e.g. ``epoch``.
        ylabel: Label of the values with their unit, e.g. ``nats per example``.
        logy: Whether the values are on a logarithmic scale.

    Returns:
        The figure.

    Raises:
        InputError: If there is no series, or a series has no finite value (no positive one for
            `logy`), unequal lengths, or an error below 0.
    """
    lines = {
        name: _line(name, curve, logy) for name, curve in named("series", series, "curves").items()
    }
    check_label(xlabel=xlabel, ylabel=ylabel)
    check_type("logy", logy, bool, "True or False")
    colour = colours(lines)
    figure = InlineFigure(figsize=(4.2, 2.6), layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel, yscale="log" if logy else "linear")
    ends: dict[str, float] = {}
    styles = _styles(lines)
    for name, (xs, y, *errors) in lines.items():
        shown = np.isfinite(y)
        ends[name] = y[shown][-1]
        look = {"color": colour[name], "linestyle": styles[name]}
        axes.plot(xs, y, **look, marker="o" if shown.sum() == 1 else "", label=name)
        for error in errors:
            axes.fill_between(
                xs, y - error, y + error, color=colour[name], alpha=BAND_ALPHA, linewidth=0
            )
    _label_ends(axes, ends, colour)
    return figure


def _line(name: str, curve: Curve, logy: bool) -> list[np.ndarray]:
    """Positions, values (NaN for a gap) and optional errors of a curve."""
    argument = f"series[{name!r}]"
    check_type(argument, curve, (tuple, list), "positions and values, and perhaps errors")
    if len(curve) not in (2, 3):
        raise InputError(
            f"`{argument}` must be positions and values, and perhaps errors, got {len(curve)} parts"
        )
    xs, y, *errors = (numbers(argument, part, finite=i == 0) for i, part in enumerate(curve))
    if any(xs.shape != part.shape for part in (y, *errors)):
        raise InputError(
            f"`{argument}` must have as many positions as values and errors, got shapes "
            + " and ".join(str(part.shape) for part in (xs, y, *errors))
        )
    shown = np.isfinite(y) & ((y > 0) | (not logy))
    if not shown.any():
        kind = "positive" if logy else "finite"
        raise InputError(f"`{argument}` must have a {kind} value, got {described(y)}")
    if not all(((error >= 0) & (error < np.inf)).all() for error in errors):
        raise InputError(
            f"`{argument}` must have finite errors of at least 0, got {described(errors[0])}"
        )
    return [xs, np.where(shown, y, np.nan), *errors]


def _styles(lines: Mapping[str, list[np.ndarray]]) -> dict[str, Any]:
    """Dashes for a curve that coincides with an earlier one, shorter ones for the next."""
    values = np.concatenate([y[np.isfinite(y)] for _, y, *_ in lines.values()])
    near, styles = SAME * np.ptp(values), {}
    for i, (name, (xs, y, *_)) in enumerate(lines.items()):
        below = [other for _, other in list(lines.items())[:i] if np.array_equal(other[0], xs)]
        same = [np.allclose(y, other[1], rtol=0, atol=near, equal_nan=True) for other in below]
        styles[name] = STYLES[min(sum(same), len(STYLES) - 1)]
    return styles


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
