"""Scores of real-valued predictions, in units of the target."""

import jax.numpy as jnp
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from jfractal.errors import InputError
from jfractal.typing import Array, Float, Scalar

__all__ = ["crps", "crps_gaussian", "rmse"]


def rmse(y: Float[ArrayLike, "*batch"], mean: Float[ArrayLike, "*batch"]) -> Scalar:
    """Root mean squared error, ``√(mean_i (y_i - mean_i)²)``.

    Args:
        y: targets, ``*batch``.
        mean: predictions, of the same shape.

    Returns:
        A number in units of the target.

    Raises:
        InputError: the shapes differ, or are empty.
    """
    y, mean = _matched(y, mean)
    return jnp.sqrt(jnp.mean(jnp.square(y - mean)))


def crps_gaussian(
    y: Float[ArrayLike, "*batch"],
    mean: Float[ArrayLike, "*batch"],
    scale: Float[ArrayLike, "*batch"],
) -> Float[Array, "*batch"]:
    """Continuous ranked probability score of a normal, ``∫ (F(t) - [t ≥ y])² dt``.

    ``σ (z (2Φ(z) - 1) + 2φ(z) - 1/√π)`` with ``z = (y - μ) / σ``.

    Args:
        y: targets, ``*batch``.
        mean: means of the predictions, of the same shape.
        scale: their standard deviations, of the same shape.

    Returns:
        The score of each target, ``*batch``; lower is better, and a point has its absolute error.

    Raises:
        InputError: the shapes differ, or are empty.

    References:
        Gneiting & Raftery, *Strictly proper scoring rules, prediction, and estimation*, JASA
        2007, eq. 21 (there with the opposite sign).
    """
    y, mean, scale = _matched(y, mean, scale)
    z = (y - mean) / scale
    return scale * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / jnp.sqrt(jnp.pi))


def crps(
    y: Float[ArrayLike, "*batch"], draws: Float[ArrayLike, " samples *batch"]
) -> Float[Array, "*batch"]:
    """Continuous ranked probability score of the empirical distribution of draws.

    ``mean_s |x_s - y| - ½ mean_st |x_s - x_t|``, by sorting.

    Args:
        y: targets, ``*batch``.
        draws: from the predictive distribution, noise included, ``samples *batch``.

    Returns:
        The score of each target, ``*batch``; that of the distribution itself is overestimated
        by ``½ E|x - x'| / samples`` on average.

    Raises:
        InputError: the shapes do not match, or are empty.

    References:
        Gneiting & Raftery, *Strictly proper scoring rules, prediction, and estimation*, JASA
        2007, eq. 20.
    """
    y, draws = jnp.asarray(y), jnp.asarray(draws)
    if draws.ndim == 0 or draws.size == 0 or y.shape != draws.shape[1:]:
        raise InputError(
            "`draws` must have an axis of draws before those of `y`, none of them empty, got "
            f"shapes {draws.shape} and {y.shape}"
        )
    n = len(draws)
    weights = (2 * jnp.arange(1, n + 1) - n - 1) / n**2
    spread = jnp.tensordot(weights, jnp.sort(draws, axis=0), axes=1)
    return jnp.mean(jnp.abs(draws - y[None]), axis=0) - spread


def _matched(y: ArrayLike, *others: ArrayLike) -> list[Array]:
    arrays = [jnp.asarray(x) for x in (y, *others)]
    if len({x.shape for x in arrays}) != 1 or arrays[0].size == 0:
        raise InputError(
            "`y` and its predictions must have the same shape, with no empty axis, got "
            f"{[x.shape for x in arrays]}"
        )
    return arrays
