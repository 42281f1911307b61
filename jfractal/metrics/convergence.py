"""Convergence of Markov chains, and the number of independent draws that they are worth.

Apply these to predictions or log-densities. The units of a net can be permuted without changing it,
so two chains may agree on every prediction and on no weight. NumPy in, NumPy out: ranks are
computed on the host, so these functions do not work under `jax.jit`.
"""

import numpy as np
from jax.typing import ArrayLike
from numpyro.diagnostics import effective_sample_size, gelman_rubin
from scipy.special import ndtri

from jfractal.arguments import as_array
from jfractal.errors import InputError
from jfractal.typing import Float

__all__ = ["ebfmi", "ess", "ess_tail", "rhat"]


def rhat(x: Float[ArrayLike, "chains draws *event"]) -> Float[np.ndarray, "*event"]:
    """Rank-normalised split R-hat, the larger of bulk and folded.

    It is ``√(total variance / variance within chains)`` of the half-chains, on the normal scores of
    the pooled ranks. Bulk R-hat ranks the draws and tells whether locations agree. Folded R-hat
    ranks their distances to the median and tells whether scales agree. Converged chains are below
    1.01.

    Args:
        x: Draws of each chain, ``chains draws *event``, at least 4 draws; one chain will do.

    Returns:
        R-hat, ``*event``. It is NaN if a draw is not finite or all draws are equal.

    Raises:
        InputError: If there are fewer than two axes, an empty axis or fewer than 4 draws.

    References:
        Vehtari, Gelman, Simpson, Carpenter & Bürkner, *Rank-normalization, folding, and
        localization: An improved R-hat for assessing convergence of MCMC*, 2021, section 4.
    """
    x = _split(x)
    folded = np.abs(x - np.median(x, axis=(0, 1)))
    bulk, tail = (gelman_rubin(_normal_scores(draws)) for draws in (x, folded))
    return np.asarray(np.maximum(bulk, tail))


def ess(x: Float[ArrayLike, "chains draws *event"]) -> Float[np.ndarray, "*event"]:
    """Bulk effective sample size, ``N / (1 + 2 Σ_t ρ_t)`` of the normal scores.

    The autocorrelations ``ρ_t`` are those of all split chains, cut off by Geyer's initial monotone
    sequence as in NumPyro. ArviZ's estimate differs by a few per cent.

    Args:
        x: Draws of each chain, ``chains draws *event``, at least 4 draws; one chain will do.

    Returns:
        A number of draws, ``*event``, at most ``N log10 N`` with ``N = chains · draws``. It exceeds
        N if successive draws are anticorrelated. It is NaN if a draw is not finite or all draws are
        equal.

    Raises:
        InputError: If there are fewer than two axes, an empty axis or fewer than 4 draws.

    References:
        Vehtari, Gelman, Simpson, Carpenter & Bürkner, *Rank-normalization, folding, and
        localization: An improved R-hat for assessing convergence of MCMC*, 2021, sections 3.2, 4.
    """
    return _effective_size(_normal_scores(_split(x)))


def ess_tail(x: Float[ArrayLike, "chains draws *event"]) -> Float[np.ndarray, "*event"]:
    """Tail effective sample size: the smaller one of the 5 % and the 95 % quantile.

    The effective sample size of a quantile ``q`` is ``N / (1 + 2 Σ_t ρ_t)`` for the indicators
    ``[x ≤ q]`` of the split chains, which estimate the quantile.

    Args:
        x: Draws of each chain, ``chains draws *event``, at least 4 draws; one chain will do.

    Returns:
        A number of draws, ``*event``, at most ``N log10 N`` with ``N = chains · draws``. A tail
        without draws beyond its quantile is ignored, e.g. if a probability is often exactly 1. The
        result is NaN if a draw is not finite or all draws are equal.

    Raises:
        InputError: If there are fewer than two axes, an empty axis or fewer than 4 draws.

    References:
        Vehtari, Gelman, Simpson, Carpenter & Bürkner, *Rank-normalization, folding, and
        localization: An improved R-hat for assessing convergence of MCMC*, 2021, section 4.3.
    """
    x = _split(x)
    tails = (x <= quantile for quantile in np.quantile(x, (0.05, 0.95), axis=(0, 1)))
    sizes = (_effective_size(tail.astype(np.float64)) for tail in tails)
    return np.asarray(np.fmin(*sizes))


def ebfmi(energy: Float[ArrayLike, "chains draws"]) -> Float[np.ndarray, " chains"]:
    """Energy Bayesian fraction of missing information, ``Σ (E_n - E_(n-1))² / Σ (E_n - Ē)²``.

    It compares the change of energy when the momentum is resampled with the spread of the energy.
    Independent energies give 2. Below 0.3, the chain moves slowly through the energies and hardly
    reaches the tails.

    Args:
        energy: Hamiltonian of each draw in nats, potential plus kinetic energy, ``chains draws``,
            at least 2 draws.

    Returns:
        The fraction of each chain, ``chains``. It is NaN if a draw is not finite or all draws are
            equal.

    Raises:
        InputError: If there are not two axes, with at least one chain and 2 draws.

    References:
        Betancourt, *Diagnosing suboptimal cotangent disintegrations in Hamiltonian Monte Carlo*,
        2016, section 3.2 (the estimator); Stan's case studies (the threshold).
    """
    energy = _numbers("energy", energy)
    if energy.ndim != 2 or len(energy) == 0 or energy.shape[1] < 2:
        raise InputError(
            "`energy` must have the axes `chains draws`, with at least one chain and 2 draws, got "
            f"shape {energy.shape}"
        )
    energy = energy - energy[:, :1]  # large energies round off, and equal ones become zeros
    steps = np.sum(np.square(np.diff(energy, axis=1)), axis=1)
    with np.errstate(invalid="ignore"):
        return steps / (energy.shape[1] * np.var(energy, axis=1))


def _numbers(name: str, x: ArrayLike) -> np.ndarray:
    """In double precision, with NaN for infinite draws, which have no variance."""
    x = np.asarray(as_array(name, x), dtype=np.float64)
    return np.where(np.isfinite(x), x, np.nan)


def _effective_size(x: np.ndarray) -> np.ndarray:
    """``N / (1 + 2 Σ_t ρ_t)`` of split chains, at most ``N log10 N``."""
    with np.errstate(invalid="ignore"):
        size = effective_sample_size(x)
    num_draws = x.shape[0] * x.shape[1]
    limit = num_draws * np.log10(num_draws)
    # Strong anticorrelation can turn the truncated sum, and with it the estimate, negative.
    return np.where((size <= 0) | (size > limit), limit, size)


def _split(x: ArrayLike) -> np.ndarray:
    """The halves of each chain as two chains, so that a drifting chain disagrees with itself."""
    x = _numbers("x", x)
    if x.ndim < 2 or x.size == 0 or x.shape[1] < 4:
        raise InputError(
            "`x` must have the axes `chains draws *event`, none empty, with at least 4 draws, "
            f"got shape {x.shape}"
        )
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, -half:]])


def _normal_scores(x: np.ndarray) -> np.ndarray:
    """Normal quantiles of the pooled ranks, with Blom's offset (ibid., eq. 14)."""
    from scipy.stats import rankdata  # here, since it would double what importing jfractal costs

    ranks = rankdata(x.reshape(-1, *x.shape[2:]), axis=0)
    return ndtri((ranks - 3 / 8) / (len(ranks) + 1 / 4)).reshape(x.shape)
