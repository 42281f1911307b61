"""Intervals: one figure of several methods, each with its uncertainty, one below the other."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from jfractal.errors import InputError
from jfractal.viz.style import GREY, PALETTE, styled

__all__ = ["intervals"]

ROW_HEIGHT = 0.19  # inches


@styled
def intervals(
    rows: Mapping[str, tuple[float, float]], *, xlabel: str, reference: float | None = None
) -> Figure:
    """Draws a dot and a whisker of ± one error for each row, in the order given.

    Args:
        rows: Value and error by name; an error of 0 draws the dot alone.
        xlabel: What the values are, with their unit, and what the errors are.
        reference: Where to draw a line to compare with, e.g. at a published figure.

    Returns:
        The figure.

    Raises:
        InputError: If there is no row, a number is not finite, or an error is negative.
    """
    numbers = np.array([*rows.values()], dtype=float)
    if not rows or not np.isfinite(numbers).all() or numbers[:, 1].min() < 0:
        raise InputError(
            "`rows` must hold at least one name with a finite value and a finite error of at "
            f"least 0, got {dict(rows)}"
        )
    figure = Figure(figsize=(3.6, 0.7 + ROW_HEIGHT * len(rows)), layout="constrained")
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
