"""Joins of feature maps, and drop-path on their inputs."""

from collections.abc import Sequence
from functools import reduce

import jax
import jax.numpy as jnp

from jfractal import ops, topology
from jfractal.typing import Array, Bool, Float, KeyArray

__all__ = ["draw_alive", "join"]


def draw_alive(key: KeyArray, num_inputs: int, rate: float) -> Bool[Array, " inputs"]:
    """Draws the inputs of a join that stay alive: each is dropped with probability `rate`.

    If all are dropped, one is revived uniformly at random. The effective rate is p − p^k / k for k
    inputs.

    Args:
        key: Random key.
        num_inputs: Number of inputs k of the join.
        rate: Probability p of dropping an input.

    Returns:
        One flag for each input, at least one of them true.

    Source: Larsson et al., ICLR 2017, §3 ("local" drop-path), and the authors' join layer.
    """
    key_drop, key_revive = jax.random.split(key)
    alive = jax.random.bernoulli(key_drop, 1 - rate, (num_inputs,))
    revived = jnp.arange(num_inputs) == jax.random.randint(key_revive, (), 0, num_inputs)
    return jnp.where(alive.any(), alive, revived)


def join(
    how: topology.How,
    inputs: Sequence[Float[Array, "*shape"]],
    alive: Bool[Array, " inputs *batch"] | None = None,
    logits: Float[Array, " inputs"] | None = None,
) -> Float[Array, "*shape"]:
    """Joins feature maps: the mean, sum or maximum of the live inputs, or their concatenation.

    A mean is over the live inputs only, and nothing is rescaled. A dropped input is replaced by
    zero, not multiplied by it, so that it passes on neither NaN nor a gradient.

    Args:
        how: ``mean``, ``sum``, ``max``, ``concat``, or ``convex``: ``Σ_i softmax(logits)_i · x_i``.
        inputs: Feature maps of equal shape, except for the channels of ``concat``.
        alive: One flag for each input, or for each input and example, at least one of them true.
            By default, all inputs are alive.
        logits: Logits of the weights of a ``convex`` join.

    Returns:
        The joined map.
    """
    if alive is not None:
        alive = jnp.expand_dims(alive, range(alive.ndim, inputs[0].ndim + 1))
        empty = -jnp.inf if how == "max" else 0.0
        inputs = [jnp.where(flag, x, jnp.asarray(empty, x.dtype)) for flag, x in zip(alive, inputs)]
    match how:
        case "concat":
            return jnp.concatenate(inputs, axis=-1)
        case "max":
            return reduce(ops.maximum, inputs)
        case "sum":
            return reduce(jnp.add, inputs)
        case "mean":
            count = len(inputs) if alive is None else alive.sum(axis=0)
            total = reduce(jnp.add, inputs)
            return total / jnp.asarray(count, total.dtype)
        case "convex":
            logits = jnp.expand_dims(jnp.asarray(logits), range(1, inputs[0].ndim + 1))
            logits = logits if alive is None else jnp.where(alive, logits, -jnp.inf)
            weights = jax.nn.softmax(logits, axis=0).astype(inputs[0].dtype)
            return reduce(jnp.add, [w * x for w, x in zip(weights, inputs)])
