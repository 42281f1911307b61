"""Rank histograms of simulation-based calibration, which are flat if a method is calibrated."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jfractal.arguments import check_type
from jfractal.errors import InputError
from jfractal.testing import Calibration
from jfractal.viz.series import named
from jfractal.viz.style import GREY, PALETTE, WARNING, InlineFigure, styled

__all__ = ["rank_histograms"]

LEVEL = 0.99
WIDTH, HEIGHT = 1.15, 0.62  # inches of a panel
CEILING = 4.0  # times the count of even ranks, above which bars are cut off


@styled
def rank_histograms(calibrations: Mapping[str, Calibration]) -> Figure:
    """Draws a histogram for each method (a row) and each quantity (a column).

    For a calibrated method, 99 % of the bars end within the band; bars that do not are marked. A ∪
    shape means that draws are too narrow, a ∩ shape that they are too wide, and a slope that they
    are biased.

    Args:
        calibrations: Calibrations by name of the method, see `jfractal.testing.simulate_ranks`.

    Returns:
        The figure.

    Raises:
        InputError: If there is no method, or methods differ in their quantities.
    """
    calibrations = named("calibrations", calibrations, "calibrations")
    for calibration in calibrations.values():
        check_type("calibrations", calibration, Calibration, "of `simulate_ranks`")
    quantities = [*dict.fromkeys(q for c in calibrations.values() for q in c.ranks)]
    if not quantities or any(c.ranks.keys() != set(quantities) for c in calibrations.values()):
        raise InputError(
            "`calibrations` must hold at least one method, and all methods the same quantities, "
            f"got { ({name: [*c.ranks] for name, c in calibrations.items()}) }"
        )
    size = 1.2 + WIDTH * len(quantities), 0.4 + HEIGHT * len(calibrations)
    figure = InlineFigure(figsize=size, layout="constrained")
    panels = figure.subplots(len(calibrations), len(quantities), squeeze=False)
    for row, (method, calibration) in zip(panels, calibrations.items()):
        for axes, quantity in zip(row, quantities):
            _draw(axes, calibration, quantity)
            axes.set_xticks([0, calibration.num_draws])
        row[0].set_ylabel(method, rotation=0, ha="right", va="center")
    for axes, quantity in zip(panels[0], quantities):
        axes.set_title(quantity)
    for axes in panels[:-1].flat:
        axes.tick_params(labelbottom=False)
    return figure


def _draw(axes: Axes, calibration: Calibration, quantity: str) -> None:
    from scipy.stats import binom  # here, since it is slow to import

    bins, counts = calibration.bins, calibration.counts[quantity]
    edges = np.concatenate([[0], np.cumsum(bins)]) - 0.5
    share = bins / (calibration.num_draws + 1)
    low, high = binom.interval(LEVEL, calibration.num_simulations, share)
    outside = (counts < low) | (counts > high)
    # Per rank, of which bins may hold one more or less.
    axes.bar(
        edges[:-1],
        counts / bins,
        bins,
        align="edge",
        color=np.where(outside, WARNING, PALETTE[0]),
        alpha=0.8,
    )
    axes.stairs(high / bins, edges, baseline=low / bins, fill=True, color=GREY, alpha=0.35)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0.0, CEILING * calibration.num_simulations / (calibration.num_draws + 1))
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
