"""Initial kernels of the units of a net, chosen by name."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jfractal.errors import InputError
from jfractal.typing import Array, KeyArray

__all__ = ["KERNEL_INITS", "Initializer", "aligned", "check_kernel_init", "he"]

Initializer = Callable[[KeyArray, tuple[int, ...], Any], Array]

he: Initializer = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")

KERNEL_INITS = ("he", "aligned")


def aligned(shared: KeyArray) -> Initializer:
    """Kernels that make all columns of a block start as nearly the same function.

    A kernel that keeps the number of channels starts as the identity (a one at the centre of its
    window, from each channel to itself); every other is the one He draw of `shared`, the same for
    all that have its shape. What the inputs of a join carry then agrees from the first step on, in
    the channels as well as in meaning, so that losing some of them to drop-path, or running one
    column alone, changes little: the layers behind need not learn each case first. Without a norm
    the columns start exactly equal.

    Args:
        shared: Random key, one for each block.

    Returns:
        An initialiser of kernels "*window inputs features", which ignores its own key.

    Source: ours; identity kernels in plain nets: Zagoruyko & Komodakis, "DiracNets", 2017.
    """

    def init(key: KeyArray, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        *window, inputs, features = shape
        if inputs != features:
            return he(shared, shape, dtype)
        centre = tuple(size // 2 for size in window)
        return jnp.zeros(shape, dtype).at[centre].set(jnp.eye(inputs, dtype=dtype))

    return init


def check_kernel_init(name: str) -> None:
    """Refuses a name that is not among `KERNEL_INITS`.

    Raises:
        InputError: If the name is unknown.
    """
    if name not in KERNEL_INITS:
        raise InputError(f"`kernel_init` must be one of {KERNEL_INITS}, got {name!r}")
