"""Initial kernels of the units of a net, chosen by name."""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from jfractal.typing import Array, KeyArray

__all__ = ["Initializer", "KernelInit", "aligned", "he"]

KernelInit = Literal["he", "aligned"]
Initializer = Callable[[KeyArray, tuple[int, ...], Any], Array]

he: Initializer = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


def aligned(shared: KeyArray) -> Initializer:
    """Kernels that make all columns of a block start as nearly the same function.

    A kernel that keeps the number of channels starts as the identity (a one at the centre of its
    window, from each channel to itself). All other kernels of the same shape share one He draw, by
    the key `shared`. The inputs of a join then agree from the first step on, channel by channel.
    Drop-path, or a column that runs alone, changes little, so the layers after the join need not
    learn each case first. Without a norm, the columns start exactly equal.

    Args:
        shared: Random key of the block.

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
