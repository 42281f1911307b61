"""A maximum whose gradient does not hang on an equality of rounded numbers."""

import jax
import jax.numpy as jnp

from jfractal.arguments import as_array
from jfractal.errors import InputError

__all__ = ["maximum"]


def maximum(x: jax.Array, y: jax.Array) -> jax.Array:
    """The larger of two arrays, elementwise, ``x`` where they are equal; NaN where one is.

    The gradient goes to the larger, as a choice. That of `jnp.maximum` and of `jnp.max` asks which
    input equals the result; a compiler that computes one of the two once more within another loop,
    and rounds it otherwise, then finds none: XLA's CPU backend lost gradients of whole nets so.

    Args:
        x: One array.
        y: The other, of equal shape.

    Returns:
        The maximum.
    """
    x, y = jnp.asarray(as_array("x", x)), jnp.asarray(as_array("y", y))
    if x.shape != y.shape:
        raise InputError(f"`x` and `y` must be of equal shape, got {x.shape} and {y.shape}")
    return jnp.where((x >= y) | jnp.isnan(x), x, y)
