"""Where a value lies with a given probability."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from jfractal.errors import InputError
from jfractal.typing import Array, Float

__all__ = ["Interval", "credible_interval", "gaussian_mixture_interval"]


class Interval(NamedTuple):
    """A central interval: as much probability below it as above.

    Attributes:
        lower: where it begins, ``*batch``.
        upper: where it ends, ``*batch``.
    """

    lower: Float[Array, "*batch"]
    upper: Float[Array, "*batch"]


def credible_interval(
    draws: Float[ArrayLike, " samples *batch"],
    *,
    mass: float,
    log_weights: Float[ArrayLike, " samples"] | None = None,
) -> Interval:
    """The central interval of draws, between their quantiles ``(1 ∓ mass) / 2``.

    A quantile is the smallest draw that at least its share of the draws do not exceed.

    Args:
        draws: from a posterior, ``samples *batch``.
        mass: probability of the interval, in (0, 1).
        log_weights: log of each draw's share, ``samples``; equal if left out.

    Returns:
        The interval of each value, ``*batch``.

    Raises:
        InputError: `mass` is out of range, there are no draws, or the shares do not match.
    """
    draws = jnp.asarray(draws)
    if draws.ndim == 0 or draws.size == 0:
        raise InputError(f"`draws` must have at least one element, got shape {draws.shape}")
    weights = _shares(log_weights, len(draws))
    order = jnp.argsort(draws, axis=0)
    share = jnp.cumsum(weights[order], axis=0)

    def quantile(q: float) -> Array:
        index = jnp.argmax(share >= q * share[-1:], axis=0, keepdims=True)
        return jnp.take_along_axis(draws, jnp.take_along_axis(order, index, axis=0), axis=0)[0]

    return Interval(*map(quantile, _tails(mass)))


def gaussian_mixture_interval(
    means: Float[ArrayLike, " samples *batch"],
    scales: Float[ArrayLike, " samples *batch"],
    *,
    mass: float,
    log_weights: Float[ArrayLike, " samples"] | None = None,
) -> Interval:
    """The central interval of a mixture of normals, by bisection of its distribution.

    Args:
        means: means of the components, ``samples *batch``.
        scales: their standard deviations, of the same shape.
        mass: probability of the interval, in (0, 1).
        log_weights: log of each component's share, ``samples``; equal if left out.

    Returns:
        The interval of each value, ``*batch``.

    Raises:
        InputError: `mass` is out of range, the shapes differ or are empty, or the shares do not
            match.
    """
    means, scales = jnp.asarray(means), jnp.asarray(scales)
    if means.ndim == 0 or means.size == 0 or scales.shape != means.shape:
        raise InputError(
            "`means` and `scales` must have the same shape, with no empty axis, got "
            f"{means.shape} and {scales.shape}"
        )
    weights = _shares(log_weights, len(means))

    def quantile(q: float) -> Array:
        of_components = means + scales * norm.ppf(q)

        def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bounds
            middle = (low + high) / 2
            cdf = norm.cdf(middle[None], means, scales)
            below = jnp.average(cdf, axis=0, weights=weights) < q
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        # The quantile of a mixture lies between those of its components.
        bounds = jnp.min(of_components, axis=0), jnp.max(of_components, axis=0)
        low, high = jax.lax.fori_loop(0, 30, halve, bounds)
        return (low + high) / 2

    return Interval(*map(quantile, _tails(mass)))


def _shares(log_weights: ArrayLike | None, num_samples: int) -> Array:
    """Each draw's share of a mixture."""
    log_weights = jnp.zeros(num_samples) if log_weights is None else jnp.asarray(log_weights)
    if log_weights.shape != (num_samples,):
        raise InputError(f"`log_weights` must have shape {(num_samples,)}, got {log_weights.shape}")
    return jax.nn.softmax(log_weights)


def _tails(mass: float) -> tuple[float, float]:
    if not 0 < mass < 1:
        raise InputError(f"`mass` must be between 0 and 1, got {mass}")
    return (1 - mass) / 2, (1 + mass) / 2
