"""Normalisation that stores only its input and a few statistics for its gradient.

If it is differentiated line by line, a normalisation also stores the centred and the scaled map,
each as large as its input, and reads and writes them again in the backward pass. On CPU this costs
up to half as much as the 3×3 convolution before it. With the gradient in closed form, it costs next
to nothing.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jfractal.arguments import as_array, check_positive, described
from jfractal.errors import InputError

__all__ = ["Normalized", "normalize"]


class Normalized(NamedTuple):
    """A normalised map and its statistics.

    Attributes:
        value: The normalised map, with the shape and dtype of the input.
        mean: Mean over the normalised axes, which are kept with size 1; float32 or wider.
        var: The biased variance, of the same shape.
    """

    value: jax.Array
    mean: jax.Array
    var: jax.Array


def normalize(
    x: jax.Array, scale: jax.Array, bias: jax.Array, *, axes: Sequence[int], epsilon: float
) -> Normalized:
    """Shifts and scales to mean 0 and variance 1 over some axes, then applies an affine map.

    It returns ``scale · (x − mean) / sqrt(var + ε) + bias``. Batch normalisation averages over all
    axes except the channels; group normalisation averages over the pixels and the channels of a
    group. The returned `mean` and `var` are constants to every derivative.

    Args:
        x: Feature maps.
        scale: Scale, with as many axes as `x`, each of size 1 or that of `x`.
        bias: Bias, of the shape of `scale`.
        axes: The axes to average over, not negative.
        epsilon: Constant added to the variance.

    Returns:
        The normalised map, the mean and the variance.

    Source: the gradient is that of Ioffe & Szegedy, ICML 2015, §3.
    """
    x, scale, bias = (
        jnp.asarray(as_array(name, value))
        for name, value in (("x", x), ("scale", scale), ("bias", bias))
    )
    check_positive(epsilon=epsilon)
    _check_shapes(x, scale=scale, bias=bias)
    is_list = isinstance(axes, Sequence) and axes and all(type(axis) is int for axis in axes)
    if not is_list or not set(axes) <= set(range(x.ndim)) or len(set(axes)) < len(axes):
        raise InputError(
            f"`axes` must be distinct axes of the {x.ndim} of `x`, got {described(axes)}"
        )
    value, *moments = _normalize(tuple(axes), epsilon, x, scale, bias)  # pyright: ignore
    return Normalized(value, *map(lax.stop_gradient, moments))


def _check_shapes(x: jax.Array, **affine: jax.Array) -> None:
    if not x.size:
        raise InputError(f"`x` must have no empty axis, got shape {x.shape}")
    for name, part in affine.items():
        fits = part.ndim == x.ndim and all(n in (1, m) for n, m in zip(part.shape, x.shape))
        if not fits:
            raise InputError(
                f"`{name}` must have the {x.ndim} axes of `x`, of size 1 or its own, {x.shape}, "
                f"got {part.shape}"
            )


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
@partial(jax.jit, static_argnums=(0, 1))  # traced once, however many layers are alike
def _normalize(
    axes: tuple[int, ...], epsilon: float, x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    wide = _wide(x)
    mean = wide.mean(axes, keepdims=True)
    # Both moments from one pass over the map; rounding may take the difference below zero.
    var = jnp.maximum((wide * wide).mean(axes, keepdims=True) - mean * mean, 0)
    value = (wide - mean) * (scale * lax.rsqrt(var + epsilon)) + bias
    return value.astype(x.dtype), mean, var


@_normalize.defjvp
def _jvp(axes, epsilon, primals, tangents):
    x, scale, _ = primals
    value, mean, var = _normalize(axes, epsilon, *primals)  # pyright: ignore
    slopes = _tangent(axes, x, scale, mean, lax.rsqrt(var + epsilon), *tangents)
    return (value, mean, var), slopes


# The gradient is the transpose of this, and keeps what is not a tangent: the map, but not the
# centred map.
@partial(jax.jit, static_argnums=0)
@partial(jax.checkpoint, static_argnums=0, prevent_cse=False)
def _tangent(axes, x, scale, mean, inverse_std, d_x, d_scale, d_bias):
    centred, d_wide = _wide(x) - mean, _wide(d_x)
    d_mean = d_wide.mean(axes, keepdims=True)
    d_half_var = (d_wide * centred).mean(axes, keepdims=True)
    # Both factors are small: of the map and its cotangent the transpose takes two sums, no more.
    slope = inverse_std * (d_scale - scale * inverse_std**2 * d_half_var)
    shift = d_bias - scale * inverse_std * d_mean
    d_value = scale * inverse_std * d_wide + centred * slope + shift
    return d_value.astype(x.dtype), d_mean, 2 * d_half_var


def _wide(x: jax.Array) -> jax.Array:
    """In single precision or wider, in which statistics of half-precision maps are computed."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
