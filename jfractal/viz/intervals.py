"""Intervals: one number for each of several methods, with its error, one below the other."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from jfractal.arguments import check_number, described
from jfractal.errors import InputError
from jfractal.viz.series import check_label, named, series
from jfractal.viz.style import GREY, PALETTE, InlineFigure, styled

__all__ = ["intervals"]

ROW_HEIGHT = 0.19  # inches


@styled
def intervals(
    rows: Mapping[str, tuple[float, float]], *, xlabel: str, reference: float | None = None
) -> Figure:
    """Draws a dot and a whisker of ± one error for each row, in the order given.

    Args:
        rows: Value and error by name; an error of 0 draws the dot alone.
        xlabel: Label of the values with their unit, which also says what the errors are.
        reference: Position of a line to compare with, e.g. a published figure.

    Returns:
        The figure.

    Raises:
        InputError: If there is no row, a number is not finite, or an error is negative.
    """
    rows = named("rows", rows, "pairs of a value and its error")
    check_label(xlabel=xlabel)
    for name, row in rows.items():
        pair = series(f"rows[{name!r}]", row)
        if len(pair) != 2 or pair[1] < 0:
            raise InputError(
                f"`rows` must hold a value and an error of at least 0 for {name!r}, got "
                f"{described(row)}"
            )
    if reference is not None:
        check_number("finite", np.isfinite, reference=reference)
    numbers = np.array([*rows.values()], dtype=float)
    figure = InlineFigure(figsize=(3.6, 0.7 + ROW_HEIGHT * len(rows)), layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel)
    places = np.arange(len(rows))
    axes.errorbar(
        numbers[:, 0], places, xerr=numbers[:, 1], fmt="o", markersize=3.5, color=PALETTE[0]
    )
    if reference is not None:
        axes.axvline(reference, color=GREY, linewidth=0.7, zorder=0)
    axes.set_yticks(places, [*rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    return figure
