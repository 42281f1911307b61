"""A maximum whose gradient does not depend on an equality of rounded numbers."""

import jax
import jax.numpy as jnp

from jfractal.arguments import as_array
from jfractal.errors import InputError

__all__ = ["maximum"]


def maximum(x: jax.Array, y: jax.Array) -> jax.Array:
    """The larger of two arrays, elementwise: ``x`` if they are equal, NaN if one is NaN.

    The gradient goes to the larger input, by a comparison of the two. The gradients of
    `jnp.maximum` and `jnp.max` instead ask which input equals the result. If a compiler recomputes
    the result or an input in another loop and rounds it differently, neither is equal, and the
    gradient is lost. With XLA's CPU backend, whole nets lost their gradients this way.

    Args:
        x: One array.
        y: The other array, of equal shape.

    Returns:
        The maximum.
    """
    x, y = jnp.asarray(as_array("x", x)), jnp.asarray(as_array("y", y))
    if x.shape != y.shape:
        raise InputError(f"`x` and `y` must be of equal shape, got {x.shape} and {y.shape}")
    return jnp.where((x >= y) | jnp.isnan(x), x, y)
