"""Histograms of a score: does it tell data from inside and outside the training set apart?"""

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure

from jfractal.errors import InputError
from jfractal.typing import Float
from jfractal.viz.style import colours, styled

__all__ = ["score_histograms"]

NUM_BINS = 40


@styled
def score_histograms(scores: Mapping[str, Float[ArrayLike, " examples"]], *, xlabel: str) -> Figure:
    """Draws the density of a score in each group of examples, all on the same bins.

    Args:
        scores: A score for every example, by the name of the group, "examples": e.g. the
            epistemic entropy in nats on the test set and on another data set.
        xlabel: What the score is, with its unit.

    Returns:
        The figure.

    Raises:
        InputError: If there is no group, or one is empty or not finite.
    """
    colour = colours(scores)
    groups = {name: np.ravel(np.asarray(values)) for name, values in scores.items()}
    for name, values in groups.items():
        if values.size == 0 or not np.isfinite(values).all():
            raise InputError(
                f"the scores of {name!r} must be finite and at least one, got {values}"
            )
    edges = np.histogram_bin_edges(np.concatenate([*groups.values()]), bins=NUM_BINS)
    figure = Figure(figsize=(3.6, 2.4), layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel="density")
    for name, values in groups.items():
        density, _ = np.histogram(values, edges, density=True)
        axes.stairs(density, edges, fill=True, color=colour[name], alpha=0.25)
        axes.stairs(density, edges, color=colour[name], linewidth=1.2, label=name)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0.0)
    figure.legend(loc="outside upper center", ncols=len(groups))
    return figure
