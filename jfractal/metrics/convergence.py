"""Have the Markov chains converged, and how many independent draws are they worth.

Apply these to predictions or log-densities: the weights of a net can be permuted without changing
it, so two chains may agree on every prediction and on no weight. NumPy in, NumPy out; ranks need
the host, hence not for use under `jax.jit`.
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

    ``√(total variance / variance within chains)`` of the half-chains, computed on the normal
    scores of the pooled ranks: of the draws (do locations agree?) and of their distances to the
    median (do scales agree?). Converged chains are below 1.01.

    Args:
        x: draws of each chain, ``chains draws *event``, at least 4 draws; one chain will do.

    Returns:
        R-hat, ``*event``. NaN where a draw is not finite or all draws are equal.

    Raises:
        InputError: there are fewer than two axes, an empty axis or fewer than 4 draws.

    References:
        Vehtari, Gelman, Simpson, Carpenter & Bürkner, *Rank-normalization, folding, and
        localization: an improved R-hat for assessing convergence of MCMC*, 2021, section 4.
    """
    x = _split(x)
    folded = np.abs(x - np.median(x, axis=(0, 1)))
    bulk, tail = (gelman_rubin(_normal_scores(draws)) for draws in (x, folded))
    return np.asarray(np.maximum(bulk, tail))


def ess(x: Float[ArrayLike, "chains draws *event"]) -> Float[np.ndarray, "*event"]:
    """Bulk effective sample size, ``N / (1 + 2 Σ_t ρ_t)`` of the normal scores.

    The autocorrelations ``ρ_t`` are those of the split chains together, cut off by Geyer's initial
    monotone sequence, as NumPyro computes it; ArviZ's estimate differs by some per cent.

    Args:
        x: draws of each chain, ``chains draws *event``, at least 4 draws; one chain will do.

    Returns:
        A number of draws, ``*event``, at most ``N log10 N`` where ``N = chains · draws``: more
        than N is possible where successive draws are anticorrelated. NaN where a draw is not finite
        or all draws are equal.

    Raises:
        InputError: there are fewer than two axes, an empty axis or fewer than 4 draws.

    References:
        Vehtari, Gelman, Simpson, Carpenter & Bürkner, *Rank-normalization, folding, and
        localization: an improved R-hat for assessing convergence of MCMC*, 2021, sections 3.2, 4.
    """
    return _effective_size(_normal_scores(_split(x)))


def ess_tail(x: Float[ArrayLike, "chains draws *event"]) -> Float[np.ndarray, "*event"]:
    """Tail effective sample size, the smaller of those of the 5 % and the 95 % quantile.

    That of a quantile ``q`` is the effective size ``N / (1 + 2 Σ_t ρ_t)`` of the indicators
    ``[x ≤ q]`` of the split chains, by which the quantile is estimated.

    Args:
        x: draws of each chain, ``chains draws *event``, at least 4 draws; one chain will do.

    Returns:
        A number of draws, ``*event``, at most ``N log10 N`` where ``N = chains · draws``. A tail
        without draws beyond its quantile, such as that of a probability that is often exactly 1,
        does not count. NaN where a draw is not finite or all draws are equal.

    Raises:
        InputError: there are fewer than two axes, an empty axis or fewer than 4 draws.

    References:
        Vehtari, Gelman, Simpson, Carpenter & Bürkner, *Rank-normalization, folding, and
        localization: an improved R-hat for assessing convergence of MCMC*, 2021, section 4.3.
    """
    x = _split(x)
    tails = (x <= quantile for quantile in np.quantile(x, (0.05, 0.95), axis=(0, 1)))
    sizes = (_effective_size(tail.astype(np.float64)) for tail in tails)
    return np.asarray(np.fmin(*sizes))


def ebfmi(energy: Float[ArrayLike, "chains draws"]) -> Float[np.ndarray, " chains"]:
    """Energy Bayesian fraction of missing information, ``Σ (E_n - E_(n-1))² / Σ (E_n - Ē)²``.

    How far the momentum's resampling changes the energy, compared with how far the energy must
    go. Independent energies have 2; below 0.3 the chain walks slowly through the energies and
    hardly reaches the tails.

    Args:
        energy: Hamiltonian of each draw in nats, potential plus kinetic energy, ``chains draws``,
            at least 2 draws.

    Returns:
        The fraction of each chain, ``chains``. NaN where a draw is not finite or all draws are
            equal.

    Raises:
        InputError: there are not two axes, with at least one chain and 2 draws.

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
    """In double precision, with NaN for what is not finite: an infinite draw has no variance."""
    x = np.asarray(as_array(name, x), dtype=np.float64)
    return np.where(np.isfinite(x), x, np.nan)


def _effective_size(x: np.ndarray) -> np.ndarray:
    """``N / (1 + 2 Σ_t ρ_t)`` of chains that are split already, at most ``N log10 N``."""
    with np.errstate(invalid="ignore"):
        size = effective_sample_size(x)
    num_draws = x.shape[0] * x.shape[1]
    limit = num_draws * np.log10(num_draws)
    # Strong anticorrelation can turn the truncated sum, and with it the estimate, negative.
    return np.where((size <= 0) | (size > limit), limit, size)


def _split(x: ArrayLike) -> np.ndarray:
    """Halves of the chains as chains of their own: a chain that drifts disagrees with itself."""
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
