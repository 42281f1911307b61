"""Bootstrap intervals: how far a score on these examples may be from that on all examples."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jfractal.arguments import as_array, check_key, check_number, check_type, described
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.metrics.interval import credible_interval
from jfractal.typing import Array, Float, KeyArray, PyTree

__all__ = ["Estimate", "bootstrap"]


class Estimate(NamedTuple):
    """A number and its interval.

    Attributes:
        value: Value on the given examples.
        lower: Lower end of the interval, of the same shape.
        upper: Upper end of the interval, of the same shape.
    """

    value: Float[Array, "..."]
    lower: Float[Array, "..."]
    upper: Float[Array, "..."]


def bootstrap(
    statistic: Callable[..., PyTree[Array]],
    examples: Sequence[ArrayLike],
    key: KeyArray,
    *,
    mass: float = 0.95,
    num_resamples: int = 1000,
) -> PyTree[Estimate]:
    """The percentile interval of a statistic, over resamples of the examples.

    ``θ̂* = θ(x_i1, …, x_in)``, with indices drawn uniformly with replacement. The indices are the
    same for all arrays, so that ``θ`` may be a difference of paired scores. The interval lies
    between the quantiles ``(1 ∓ mass) / 2`` of ``θ̂*``. Any score of this package can be used::

        bootstrap(ece, (probs, labels), key)
        bootstrap(jnp.mean, (wasserstein(x, y),), key)  # of one number per example

    A resample has fewer distinct examples than the data. A statistic that is biased on few
    examples, as `ece` is upwards, is therefore more biased in the interval.

    Args:
        statistic: ``statistic(*examples)`` is a number, an array, or a tree of them. It is
            compiled once if every call gets the same function object.
        examples: Arrays whose first axis, ``examples``, is resampled.
        key: Random key.
        mass: Fraction of the resamples inside the interval, in (0, 1).
        num_resamples: Number of resamples, at least 1.

    Returns:
        An `Estimate` for each number of ``statistic(*examples)``.

    Raises:
        InputError: If the arrays are empty or differ in their number of examples, `statistic` is
            not a function, or `mass` or `num_resamples` is out of range.

    References:
        Efron & Tibshirani, *An introduction to the bootstrap*, 1993, section 13.3.
    """
    check_type("examples", examples, (tuple, list), "a tuple of arrays")
    arrays = tuple(jnp.asarray(as_array("examples", x)) for x in examples)
    sizes = {x.shape[:1] for x in arrays}
    if len(sizes) != 1 or sizes <= {(), (0,)}:
        raise InputError(
            "`examples` must be arrays with as many examples each, and at least one, got shapes "
            f"{[x.shape for x in arrays]}"
        )
    if not callable(statistic):
        raise InputError(f"`statistic` must be a function of arrays, got {described(statistic)}")
    check_key("key", key)
    check_counts(num_resamples=num_resamples)
    check_number("between 0 and 1", lambda x: (x > 0) & (x < 1), mass=mass)
    return _bootstrap(statistic, arrays, key, mass, num_resamples)


@partial(jax.jit, static_argnames=("statistic", "mass", "num_resamples"))
def _bootstrap(
    statistic: Callable[..., PyTree[Array]],
    arrays: tuple[Array, ...],
    key: KeyArray,
    mass: float,
    num_resamples: int,
) -> PyTree[Estimate]:
    num_examples = len(arrays[0])

    def replicate(key: KeyArray) -> PyTree[Array]:
        drawn = jax.random.randint(key, (num_examples,), 0, num_examples)
        return statistic(*(x[drawn] for x in arrays))

    def estimate(value: Array, replicates: Array) -> Estimate:
        return Estimate(value, *credible_interval(replicates, mass=mass))

    # One resample at a time: all of them would be as many copies of the data.
    replicates = jax.lax.map(replicate, jax.random.split(key, num_resamples))
    return jax.tree.map(estimate, statistic(*arrays), replicates)
