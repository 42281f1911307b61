"""Pooling whose gradient is fast on every platform."""

import jax
import jax.numpy as jnp
from jax import lax

from jfractal.arguments import as_array
from jfractal.errors import InputError
from jfractal.ops.maximum import maximum

__all__ = ["max_pool"]


def max_pool(x: jax.Array) -> jax.Array:
    """The largest of every 2 pixels along each spatial axis, e.g. of 2×2.

    It takes a maximum of two along each axis in turn, because the gradient of a window reduction is
    about seven times slower on CPU. If several pixels share the maximum, the first gets the
    gradient.

    Args:
        x: Feature maps, "batch *space channels". An odd last row or column is left out. Without
            spatial axes there is nothing to pool.

    Returns:
        Feature maps of half the size.

    Raises:
        InputError: If a spatial axis is shorter than 2.
    """
    x = jnp.asarray(as_array("x", x))
    if x.ndim < 2 or not x.size:
        raise InputError(
            f"`x` must have the axes `batch *space channels`, none of them empty, got {x.shape}"
        )
    space = x.shape[1:-1]
    if min(space, default=2) < 2:
        sizes = "×".join(map(str, space))
        raise InputError(f"`x` must be at least 2 pixels along each axis to be pooled, got {sizes}")
    x = x[:, *(slice(size // 2 * 2) for size in space)]
    for axis, size in reversed([*enumerate(space, start=1)]):
        pairs = x.reshape(*x.shape[:axis], size // 2, 2, *x.shape[axis + 1 :])
        x = maximum(*(lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1)))
    return x
