"""Scores of real-valued predictions, in the units of the target."""

import jax.numpy as jnp
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from jfractal.errors import InputError
from jfractal.metrics.inputs import matched, non_negative, real
from jfractal.typing import Array, Float, Scalar

__all__ = ["crps", "crps_gaussian", "rmse"]

FAR = 40.0  # standard deviations, beyond which Φ is 0 or 1 and φ is 0 in any floating point


def rmse(y: Float[ArrayLike, "*batch"], mean: Float[ArrayLike, "*batch"]) -> Scalar:
    """Root mean squared error, ``√(mean_i (y_i - mean_i)²)``.

    Args:
        y: Targets, ``*batch``.
        mean: Predictions, of the same shape.

    Returns:
        A number in the units of the target.

    Raises:
        InputError: If the shapes differ or are empty, or a number is not finite.
    """
    y, mean = matched(real, "*batch", y=y, mean=mean)
    return jnp.sqrt(jnp.mean(jnp.square(y - mean)))


def crps_gaussian(
    y: Float[ArrayLike, "*batch"],
    mean: Float[ArrayLike, "*batch"],
    scale: Float[ArrayLike, "*batch"],
) -> Float[Array, "*batch"]:
    """Continuous ranked probability score of a normal, ``∫ (F(t) - [t ≥ y])² dt``.

    ``(y - μ) (2Φ(z) - 1) + σ (2φ(z) - 1/√π)`` with ``z = (y - μ) / σ``.

    Args:
        y: Targets, ``*batch``.
        mean: Means of the predictions, of the same shape.
        scale: Standard deviations of the predictions, at least 0, of the same shape.

    Returns:
        The score of each target, ``*batch``; lower is better. For a scale of 0, it is the absolute
        error.

    Raises:
        InputError: If the shapes differ or are empty, a number is not finite, or a scale is
            negative.

    References:
        Gneiting & Raftery, *Strictly proper scoring rules, prediction, and estimation*, JASA
        2007, eq. 21 (with the opposite sign).
    """
    y, mean = matched(real, "*batch", y=y, mean=mean)
    scale = non_negative("scale", scale)
    if scale.shape != mean.shape:
        raise InputError(f"`scale` must have the shape of `mean`, {mean.shape}, got {scale.shape}")
    # So small a scale is 0, and so large a z infinite: neither value nor gradient may notice.
    floor = jnp.sqrt(jnp.finfo(scale.dtype).tiny)
    z = jnp.clip((y - mean) / jnp.maximum(scale, floor), -FAR, FAR)
    return (y - mean) * (2 * norm.cdf(z) - 1) + scale * (2 * norm.pdf(z) - 1 / jnp.sqrt(jnp.pi))


def crps(
    y: Float[ArrayLike, "*batch"], draws: Float[ArrayLike, " samples *batch"]
) -> Float[Array, "*batch"]:
    """Continuous ranked probability score of the empirical distribution of draws.

    ``mean_s |x_s - y| - ½ mean_st |x_s - x_t|``, by sorting.

    Args:
        y: Targets, ``*batch``.
        draws: Draws from the predictive distribution, noise included, ``samples *batch``.

    Returns:
        The score of each target, ``*batch``. On average, it overestimates the score of the
        distribution itself by ``½ E|x - x'| / samples``.

    Raises:
        InputError: If the shapes do not match or are empty, or a number is not finite.

    References:
        Gneiting & Raftery, *Strictly proper scoring rules, prediction, and estimation*, JASA
        2007, eq. 20.
    """
    y, draws = real("y", y), real("draws", draws, "samples *batch")
    if y.shape != draws.shape[1:]:
        raise InputError(
            f"`draws` must have an axis of draws before those of `y`, {y.shape}, got shape "
            f"{draws.shape}"
        )
    n = len(draws)
    weights = (2 * jnp.arange(1, n + 1) - n - 1) / n**2
    spread = jnp.tensordot(weights, jnp.sort(draws, axis=0), axes=1)
    return jnp.mean(jnp.abs(draws - y[None]), axis=0) - spread
