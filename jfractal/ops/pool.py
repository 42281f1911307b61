"""Pooling whose gradient is fast on every platform."""

import jax

from jfractal.errors import InputError

__all__ = ["max_pool"]


def max_pool(x: jax.Array) -> jax.Array:
    """The largest of every 2 pixels along each spatial axis, e.g. of 2×2.

    Written as a reshape and a maximum: the gradient of a window reduction is about seven times
    slower on CPU. Where several pixels share the maximum, the gradient is split among them.

    Args:
        x: Feature maps, "batch *space channels". An odd last row or column is left out. Without
            spatial axes there is nothing to pool.

    Returns:
        Feature maps of half the size.

    Raises:
        InputError: If a spatial axis is shorter than 2.
    """
    batch, *space, channels = x.shape
    if min(space, default=2) < 2:
        sizes = "×".join(map(str, space))
        raise InputError(f"`x` must be at least 2 pixels along each axis to be pooled, got {sizes}")
    x = x[:, *(slice(size // 2 * 2) for size in space)]
    halves = [n for size in space for n in (size // 2, 2)]
    return x.reshape(batch, *halves, channels).max(axis=tuple(range(2, 2 * len(space) + 1, 2)))
