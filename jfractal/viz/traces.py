"""Traces and ranks: do the Markov chains agree?"""

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure

from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.metrics import ess, ess_tail, rhat
from jfractal.typing import Float
from jfractal.viz.series import named, series
from jfractal.viz.style import GREY, INK, PALETTE, InlineFigure, styled

__all__ = ["ranks", "traces"]

MIN_DRAWS = 4  # of which R-hat and ESS can be found


@styled
def traces(draws: Mapping[str, Float[ArrayLike, "chains draws"]]) -> Figure:
    """Draws each quantity against the number of the draw, with a line for each chain.

    Chains that have converged overlap and do not drift. Each panel states the rank-normalised R-hat
    and the bulk and tail effective sample sizes.

    Args:
        draws: Draws by the name of the quantity, "chains draws", e.g. the log joint in nats and
            the probability of a class. The number of chains must be the same for all.

    Returns:
        The figure, one panel below the other.

    Raises:
        InputError: If there is no quantity, or one is not finite, has fewer than 4 draws, or has
            another number of chains than the first.

    Source: Vehtari et al., "Rank-normalization, folding, and localization", 2021 (R-hat and
        effective sample sizes).
    """
    panels = _checked(draws)
    figure = InlineFigure(figsize=(4.2, 0.5 + 1.1 * len(panels)), layout="constrained")
    rows = figure.subplots(len(panels), squeeze=False)[:, 0]
    for axes, (name, chains) in zip(rows, panels.items()):
        for colour, chain in zip(_chain_colours(chains), chains):
            axes.plot(np.arange(1, 1 + chain.size), chain, color=colour, linewidth=0.6, alpha=0.8)
        axes.set_xlim(1, chains.shape[1])
        axes.set_title(
            f"{name}: R-hat {rhat(chains):.3f}, ESS {ess(chains):.0f} (bulk), "
            f"{ess_tail(chains):.0f} (tail)"
        )
    rows[-1].set_xlabel("draw")
    return figure


@styled
def ranks(draws: Mapping[str, Float[ArrayLike, "chains draws"]], *, num_bins: int = 20) -> Figure:
    """Draws histograms of the ranks of each chain's draws among the draws of all chains.

    If all chains have the same distribution, the ranks of each chain are uniform. Bars that lean to
    one side mean that the draws of a chain are too low or too high. Bars that are high in the
    middle or at both ends mean that its scale is too small or too large. The band contains a bar
    with 95 % probability (hypergeometric) if draws are independent; with autocorrelated draws, bars
    leave it more often.

    Args:
        draws: Draws by the name of the quantity, "chains draws". The number of chains must be the
            same for all.
        num_bins: Number of bins, from 2 to the number of draws of a chain.

    Returns:
        The figure, a row for each quantity and a column for each chain.

    Raises:
        InputError: If there is no quantity; if one is not finite, has fewer than 4 draws, or has
            another number of chains than the first; or if `num_bins` is out of range.

    Source: Vehtari, Gelman, Simpson, Carpenter & Bürkner, "Rank-normalization, folding, and
        localization: an improved R-hat for assessing convergence of MCMC", 2021, section 4.4.
    """
    panels = _checked(draws)
    shortest = min(chains.shape[1] for chains in panels.values())
    check_counts(2, most=shortest, num_bins=num_bins)
    num_chains = len(next(iter(panels.values())))
    figure = InlineFigure(
        figsize=(0.6 + 1.1 * num_chains, 0.5 + 1.1 * len(panels)), layout="constrained"
    )
    grid = figure.subplots(len(panels), num_chains, squeeze=False, sharey="row")
    for row, (name, chains) in zip(grid, panels.items()):
        _rank_row(row, chains, num_bins)
        row[0].set_ylabel(name)
    for number, axes in enumerate(grid[0], start=1):
        axes.set_title(f"chain {number}")
    figure.supxlabel("rank among all chains", fontsize="medium", color=INK)
    return figure


def _rank_row(row: np.ndarray, chains: np.ndarray, num_bins: int):
    from scipy.stats import hypergeom, rankdata  # here, since it is slow to import

    num_chains, num_draws = chains.shape
    edges = np.linspace(0.5, chains.size + 0.5, num_bins + 1)
    # Whole ranks do not always share out equally among the bins.
    sizes, _ = np.histogram(np.arange(1, chains.size + 1), edges)
    lower, upper = hypergeom.interval(0.95, chains.size, sizes, num_draws)
    pooled = rankdata(chains).reshape(chains.shape)
    top = upper.max()
    for axes, colour, chain in zip(row, _chain_colours(chains), pooled):
        counts, _ = np.histogram(chain, edges)
        top = max(top, counts.max())
        axes.stairs(upper, edges, baseline=lower, fill=True, color=GREY, alpha=0.4)
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.6)
        axes.stairs(sizes / num_chains, edges, baseline=None, color=INK, linewidth=0.7)
        axes.set(xlim=(edges[0], edges[-1]), xticks=[])
    row[0].set_ylim(0, 1.05 * top)  # the row shares it


def _chain_colours(chains: np.ndarray) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(len(chains))]


def _checked(draws: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    panels = {
        name: series(f"draws[{name!r}]", chains, ndim=2)
        for name, chains in named("draws", draws, "draws of chains").items()
    }
    num_chains = next(iter(panels.values())).shape[:1]
    for name, chains in panels.items():
        if chains.shape[:1] != num_chains or chains.shape[1] < MIN_DRAWS:
            raise InputError(
                f"`draws` of {name!r} must have the axes `chains draws`, with at least "
                f"{MIN_DRAWS} draws and as many chains for each quantity, got {chains.shape}"
            )
    return panels
