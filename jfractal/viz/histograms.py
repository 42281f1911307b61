"""Histograms of a score: how well it separates in-distribution from out-of-distribution data."""

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure

from jfractal.typing import Float
from jfractal.viz.series import check_label, named, series
from jfractal.viz.style import InlineFigure, colours, styled

__all__ = ["score_histograms"]

NUM_BINS = 40


@styled
def score_histograms(scores: Mapping[str, Float[ArrayLike, " examples"]], *, xlabel: str) -> Figure:
    """Draws the density of a score in each group of examples, all on the same bins.

    Args:
        scores: Scores of all examples, "examples", by the name of the group: e.g. the epistemic
            entropy in nats on the test set and on another data set.
        xlabel: Label of the score, with its unit.

    Returns:
        The figure.

    Raises:
        InputError: If there is no group, or one is empty or not finite.
    """
    check_label(xlabel=xlabel)
    groups = {
        name: series(f"scores[{name!r}]", values)
        for name, values in named("scores", scores, "numbers").items()
    }
    colour = colours(groups)
    pooled = np.concatenate([*groups.values()])
    low, high = pooled.min(), pooled.max()
    margin = 0.0 if low < high else max(0.5, 1e-3 * abs(low))
    edges = np.linspace(low - margin, high + margin, NUM_BINS + 1)
    figure = InlineFigure(figsize=(3.6, 2.4), layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel="density")
    for name, values in groups.items():
        density, _ = np.histogram(values, edges, density=True)
        axes.stairs(density, edges, fill=True, color=colour[name], alpha=0.25)
        axes.stairs(density, edges, color=colour[name], linewidth=1.2, label=name)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0.0)
    figure.legend(loc="outside upper center", ncols=len(groups))
    return figure
