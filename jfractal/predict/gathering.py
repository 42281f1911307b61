"""How the outputs of many draws are combined: kept one by one, or added up to their mixture."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jfractal.predict.question import Turn
from jfractal.predictions.mixture import Mixture
from jfractal.typing import Array, Float

__all__ = ["ADDED", "KEPT", "Gathering"]

Weights = Float[Array, " samples"]


class Gathering(NamedTuple):
    """How the outputs of many draws are combined.

    Attributes:
        over_draws: ``over_draws(answer, turns, log_weights, samples_per_pass)`` combines all draws
            on one device, `samples_per_pass` of them side by side.
        over_devices: ``over_devices(part, log_weights, axis)`` combines the devices along an axis
            of a mesh, from within `jax.shard_map`.
        batch_axis: The axis of examples in the result.
    """

    over_draws: Callable[[Callable[[Turn], Any], Turn, Weights, int], Any]
    over_devices: Callable[[Any, Weights, str], Any]
    batch_axis: int


def _kept(answer: Callable[[Turn], Any], turns: Turn, _: Weights, samples_per_pass: int) -> Any:
    return jax.lax.map(answer, turns, batch_size=samples_per_pass)


def _kept_over_devices(part: Any, _: Weights, axis: str) -> Any:
    return jax.lax.all_gather(part, axis, tiled=True)


def _added(
    answer: Callable[[Turn], Mixture], turns: Turn, log_weights: Weights, samples_per_pass: int
) -> Mixture:
    """The mixture of all draws, in the memory of one pass."""
    passes = jax.tree.map(
        lambda a: a.reshape(-1, samples_per_pass, *a.shape[1:]), (turns, log_weights)
    )
    one = jax.eval_shape(answer, jax.tree.map(lambda a: a[0], turns))
    nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), one)

    def add(so_far: tuple[Mixture, Array], some: tuple[Turn, Array]) -> tuple[Any, None]:
        (before, log_before), (turns, log_weights) = so_far, some
        parts = jax.tree.map(
            lambda a, b: jnp.concatenate([a[None], b]), before, jax.vmap(answer)(turns)
        )
        log_weights = jnp.concatenate([log_before[None], log_weights])
        together, log_total = _mixed(parts, log_weights)
        together = jax.tree.map(lambda new, old: new.astype(old.dtype), together, before)
        return (together, log_total), None

    start = nothing, jnp.full_like(log_weights[0], -jnp.inf)
    (together, _), _ = jax.lax.scan(add, start, passes)
    return together


def _added_over_devices(part: Mixture, log_weights: Weights, axis: str) -> Mixture:
    parts, log_weights = jax.lax.all_gather((part, jax.nn.logsumexp(log_weights)), axis)
    return _mixed(parts, log_weights)[0]


def _mixed(parts: Mixture, log_weights: Array) -> tuple[Mixture, Array]:
    """The mixture of parts whose weights need not sum to 1, and the log of their sum."""
    log_total = jax.nn.logsumexp(log_weights)
    return parts.mixed(log_weights - log_total), log_total


KEPT = Gathering(_kept, _kept_over_devices, batch_axis=1)
ADDED = Gathering(_added, _added_over_devices, batch_axis=0)
