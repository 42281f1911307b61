"""What a model answers under draws of its weights."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfractal import ops
from jfractal.errors import InputError
from jfractal.posterior.samples import Posterior
from jfractal.typing import Apply, Array, Float, KeyArray

__all__ = ["sample_outputs"]


def sample_outputs(
    apply: Apply,
    posterior: Posterior,
    x: Any,
    key: KeyArray,
    *,
    num_samples: int = 32,
    batch_size: int | None = None,
    samples_per_pass: int = 8,
) -> Float[Array, "samples batch *event"]:
    """The outputs of a model under draws of its weights, ``apply(w_s, x)`` with ``w_s ~ p(w | D)``.

    Draw s is one network for all of `x`, whatever the batches. Within a pass draws are vmapped;
    memory grows with `samples_per_pass` and `batch_size`, not with `num_samples`.

    Members of an ensemble, or stored draws, are taken at even distances (systematic sampling): each
    equally often as far as possible, and each exactly once if there are `num_samples` of them.

    Args:
        apply: ``apply(variables, x) -> outputs``. Keep the same object between calls, e.g.
            ``net.apply``, and it is compiled once.
        posterior: A pytree with ``sample(key) -> variables``: `MeanField`, `Point`, `Samples`, …;
            one of M members has ``sample_at(u, key)``, a draw of member ⌊u·M⌋ for u in [0, 1).
        x: Inputs with a leading batch axis, at least one.
        key: Random key.
        num_samples: Number of draws, at least 1.
        batch_size: Examples in a pass; all of them if left out. A last batch that is not full is
            padded, so that nothing is compiled twice.
        samples_per_pass: Draws vmapped in a pass.

    Returns:
        Outputs, "samples batch *event".

    Raises:
        InputError: If a number is smaller than 1, or `x` is empty.
    """
    batch_size = len(x) if batch_size is None else batch_size
    if min(num_samples, samples_per_pass) < 1:
        raise InputError(
            "`num_samples` and `samples_per_pass` must be at least 1, "
            f"got {num_samples} and {samples_per_pass}"
        )
    if len(x) < 1 or batch_size < 1:
        raise InputError(
            f"`x` and `batch_size` must hold at least 1 example, got {len(x)} and {batch_size}"
        )
    turns = _points(posterior, key, num_samples), jax.random.split(key, num_samples)
    chunk = min(samples_per_pass, num_samples)
    outputs = [
        _pass(apply, posterior, batch, turns, chunk)[:, :size]
        for batch, size in _padded_batches(x, min(batch_size, len(x)))
    ]
    return jnp.concatenate(outputs, axis=1)


def _points(
    posterior: Posterior, key: KeyArray, num_samples: int
) -> Float[Array, " samples"] | None:
    """Where to draw from a posterior of many members, ``(s + U) / S`` with one uniform U."""
    if not hasattr(posterior, "sample_at"):
        return None
    # Away from the ends, lest rounding takes a point into its neighbour's interval.
    margin = min(2 * num_samples * float(jnp.finfo(jnp.float32).eps), 0.5)
    key_offset = jax.random.fold_in(key, num_samples)  # `split` gives other keys
    offset = jax.random.uniform(key_offset, minval=margin, maxval=1 - margin)
    return (jnp.arange(num_samples) + offset) / num_samples


@partial(ops.jit, static_argnums=(0, 4))
def _pass(apply: Apply, posterior: Any, x: Array, turns: tuple, chunk: int) -> Array:
    def one(turn: tuple) -> Array:
        point, key = turn
        draw = posterior.sample(key) if point is None else posterior.sample_at(point, key)
        return apply(draw, x)

    return jax.lax.map(one, turns, batch_size=chunk)


def _padded_batches(x: Any, batch_size: int) -> Iterator[tuple[Any, int]]:
    for start in range(0, len(x), batch_size):
        batch = x[start : start + batch_size]
        size = len(batch)
        if size < batch_size:
            batch = np.concatenate(
                [batch, np.broadcast_to(batch[-1:], (batch_size - size, *batch.shape[1:]))]
            )
        yield batch, size
