"""Intervals that contain a value with a given probability."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from jfractal.arguments import check_number
from jfractal.metrics.inputs import log_shares, logits, mixture, scores
from jfractal.typing import Array, Float

__all__ = ["Interval", "credible_interval", "gaussian_mixture_interval"]


class Interval(NamedTuple):
    """A central interval: equal probability lies below and above it.

    Attributes:
        lower: Lower end, ``*batch``.
        upper: Upper end, ``*batch``.
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

    The quantile q is the smallest draw that at least a share q of the draws do not exceed.

    Args:
        draws: Draws from a posterior, ``samples *batch``.
        mass: Probability of the interval, in (0, 1).
        log_weights: Log of each draw's share up to a constant, ``samples``. By default, all draws
            have equal shares.

    Returns:
        The interval of each value, ``*batch``.

    Raises:
        InputError: If `mass` is out of range, there are no draws, a draw is NaN, or `log_weights`
            does not match the draws.
    """
    tails = _tails(mass)
    draws = scores("draws", draws, "samples *batch")
    weights = _shares(log_weights, len(draws), "draws")
    order = jnp.argsort(draws, axis=0)
    share = jnp.cumsum(weights[order], axis=0)

    def quantile(q: float) -> Array:
        index = jnp.argmax(share >= q * share[-1:], axis=0, keepdims=True)
        return jnp.take_along_axis(draws, jnp.take_along_axis(order, index, axis=0), axis=0)[0]

    return Interval(*map(quantile, tails))


def gaussian_mixture_interval(
    means: Float[ArrayLike, " samples *batch"],
    scales: Float[ArrayLike, " samples *batch"],
    *,
    mass: float,
    log_weights: Float[ArrayLike, " samples"] | None = None,
) -> Interval:
    """The central interval of a mixture of normals, by bisection of its distribution function.

    Args:
        means: Means of the components, ``samples *batch``.
        scales: Standard deviations of the components, above 0, of the same shape.
        mass: Probability of the interval, in (0, 1).
        log_weights: Log of each component's share, ``samples``. By default, all shares are equal.

    Returns:
        The interval of each value, ``*batch``.

    Raises:
        InputError: If `mass` is out of range, the shapes differ or are empty, a number is not
            finite, a scale is not above 0, or `log_weights` does not match the components.
    """
    tails = _tails(mass)
    means, scales = mixture(means, scales)
    weights = _shares(log_weights, len(means), "means")

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

    return Interval(*map(quantile, tails))


def _shares(log_weights: ArrayLike | None, num_samples: int, of: str) -> Array:
    """Each draw's share of a mixture."""
    return jax.nn.softmax(log_shares(log_weights, num_samples, of, logits))


def _tails(mass: float) -> tuple[float, float]:
    check_number("between 0 and 1", lambda x: (x > 0) & (x < 1), mass=mass)
    return (1 - mass) / 2, (1 + mass) / 2
