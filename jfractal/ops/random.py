"""Random draws: the draws of `jax.random`, bit for bit, but twice as fast on CPU.

On CPU, JAX runs the rounds of its generator in a loop, which reads and writes every number five
times, on one core. Here the loop is unrolled, and XLA fuses the rounds into one pass.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from jfractal.arguments import check_fraction, check_key

__all__ = ["bernoulli", "normal"]

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)


def normal(key: jax.Array, shape: Sequence[int] = (), dtype: Any = jnp.float32) -> jax.Array:
    """Draws independent standard normals, equal to `jax.random.normal`.

    Args:
        key: Random key.
        shape: Shape of the result.
        dtype: Type of the result.

    Returns:
        The draws.
    """
    check_key("key", key)
    generic = partial(jax.random.normal, shape=tuple(shape), dtype=dtype)
    if jnp.dtype(dtype) != jnp.float32 or not _is_usual(key, prod(shape)):
        return generic(key)
    return _drawn(key, partial(_normal, tuple(shape)), generic)


def bernoulli(key: jax.Array, p: float, shape: Sequence[int] = ()) -> jax.Array:
    """Draws independent booleans, equal to `jax.random.bernoulli`.

    Args:
        key: Random key.
        p: Probability of True.
        shape: Shape of the result.

    Returns:
        The draws.
    """
    check_key("key", key)
    check_fraction(p=p)
    generic = partial(jax.random.bernoulli, p=p, shape=tuple(shape))
    if jax.config.jax_enable_x64 or not _is_usual(key, prod(shape)):  # pyright: ignore
        return generic(key)
    return _drawn(key, partial(_bernoulli, p, tuple(shape)), generic)


def _drawn(key: jax.Array, on_cpu: Callable, elsewhere: Callable) -> jax.Array:
    """The draws, made once; if inlined, XLA would repeat them for every use, as in a gradient."""
    with set_xla_metadata(inlineable="false"):
        return lax.platform_dependent(key, cpu=on_cpu, default=elsewhere)


def _is_usual(key: jax.Array, size: int) -> bool:
    """Whether JAX would draw single precision with the generator used here."""
    return (
        str(jax.random.key_impl(key)) == "threefry2x32"
        and jax.config.jax_threefry_partitionable  # pyright: ignore[reportAttributeAccessIssue]
        and size < 2**32
    )


@partial(jax.jit, static_argnums=0)  # traced once, however many layers are alike
def _normal(shape: tuple[int, ...], key: jax.Array) -> jax.Array:
    least = np.nextafter(np.float32(-1), np.float32(0))
    uniform = jnp.maximum(least, _uniform(key, shape) * (1 - least) + least)
    return np.float32(np.sqrt(2)) * lax.erf_inv(uniform)


@partial(jax.jit, static_argnums=(0, 1))
def _bernoulli(p: float, shape: tuple[int, ...], key: jax.Array) -> jax.Array:
    return _uniform(key, shape) < p


def _uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform numbers in [0, 1)."""
    counts = lax.iota(jnp.uint32, prod(shape))
    high, low = _threefry(jax.random.key_data(key), jnp.zeros_like(counts), counts)
    mantissa = (high ^ low) >> 9
    one_to_two = lax.bitcast_convert_type(mantissa | np.float32(1).view(np.uint32), jnp.float32)
    return (one_to_two - 1).reshape(shape)


def _threefry(key: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32 with 20 rounds.

    Source: Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    first, second = key[0], key[1]
    schedule = first, second, first ^ second ^ PARITY
    x, y = x + schedule[0], y + schedule[1]
    for i in range(5):
        for rotation in ROTATIONS[i % 2]:
            x = x + y
            y = x ^ ((y << rotation) | (y >> (32 - rotation)))
        x = x + schedule[(i + 1) % 3]
        y = y + schedule[(i + 2) % 3] + np.uint32(i + 1)
    return x, y
