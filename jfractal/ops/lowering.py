"""What one convolution and its two gradients are compiled to, by platform and shape.

On CPU, convolutions of small maps, and of larger maps with few features, become shifted slices and
one matrix product. The gradients of all others become convolutions of transposed arrays, because
XLA by itself transposes for its fast kernels only outside of loops, and a `scan` over training
steps is twenty times slower. On other platforms, everything is left to XLA.
"""

from collections.abc import Callable
from functools import partial, reduce
from itertools import product
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

__all__ = [
    "ROLES",
    "ConvSpec",
    "Role",
    "as_matrix_product",
    "direct",
    "is_matrix_product",
    "on_accelerator",
    "on_cpu",
    "turned",
    "varying_alike",
    "windows",
]

Role = str
"""An array of a convolution: ``x``, its input, ``w``, its kernel, ``g``, its output."""
ROLES: tuple[Role, ...] = ("x", "w", "g")

# Output maps of at most this many pixels run faster as a matrix product on CPU; and larger ones, if
# the input has so few features that a direct convolution leaves most of a vector register empty.
SMALL_MAP = 16
FEW_FEATURES, MEDIUM_MAP = 4, 256

# Of a matrix product that is the gradient of a small map XLA transposes the factor on the right,
# slowly. It is the kernel, unless the cotangents are at most so many rows for each feature.
MANY_ROWS = 2

# The kernel's gradient reads all images for every weight: on CPU it is up to twice as fast over
# this many images at a time, while they stay in the cache. More slices cost compile time.
SLICE, MAX_SLICES = 8, 16


class ConvSpec(NamedTuple):
    """The static arguments of one convolution, in canonical and hashable form."""

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    dimensions: lax.ConvDimensionNumbers
    feature_group_count: int
    batch_group_count: int
    precision: Any
    preferred_element_type: Any

    @property
    def grouping(self) -> tuple[int, int]:
        """Groups of features, and of the batch."""
        return self.feature_group_count, self.batch_group_count

    def is_plain(self, ndim: int) -> bool:
        """Whether it is of the usual kind: channels last, one group, input not dilated."""
        batch_first = (0, ndim - 1, *range(1, ndim - 1))
        channels_last = (batch_first, (ndim - 1, ndim - 2, *range(ndim - 2)), batch_first)
        is_dense = self.grouping == (1, 1) and set(self.lhs_dilation) <= {1}
        return self.dimensions == channels_last and is_dense


def direct(spec: ConvSpec, x: jax.Array, w: jax.Array) -> jax.Array:
    """The convolution of `lax`; without spatial axes, a matrix product."""
    if spec.is_plain(2):
        dtype = spec.preferred_element_type
        return jnp.matmul(x, w, precision=spec.precision, preferred_element_type=dtype)
    return lax.conv_general_dilated(
        x,
        w,
        spec.strides,
        spec.padding,
        spec.lhs_dilation,
        spec.rhs_dilation,
        spec.dimensions,
        spec.feature_group_count,
        spec.batch_group_count,
        spec.precision,
        spec.preferred_element_type,
    )


def on_accelerator(
    spec: ConvSpec, result: Role, like: jax.ShapeDtypeStruct, a: jax.Array, b: jax.Array
) -> jax.Array:
    """One array of a convolution from the other two.

    Args:
        spec: The convolution.
        result: The array to compute: the output ``g`` from input and kernel, the gradient by the
            input ``x`` from kernel and cotangent, or by the kernel ``w`` from input and cotangent.
        like: Its shape and dtype.
        a: The first of the other two arrays, in the order x, w, g.
        b: The second.
    """
    return _by(direct, spec, result, like, a, b)


def as_matrix_product(
    spec: ConvSpec, result: Role, like: jax.ShapeDtypeStruct, a: jax.Array, b: jax.Array
) -> jax.Array:
    """One array of a plain convolution, as a product with the matrix of all its windows."""
    out = like if result == "g" else b
    product = lambda spec, x, w: _matrix_product(spec, out.shape, x, w)
    return _by(product, spec, result, like, a, b)


def _by(
    forward: Callable,
    spec: ConvSpec,
    result: Role,
    like: jax.ShapeDtypeStruct,
    a: jax.Array,
    b: jax.Array,
) -> jax.Array:
    """The forward pass itself, or its transpose."""
    if result == "g":
        return forward(spec, a, b)
    dtype = like.dtype
    spec, like, a, b = _of_one_dtype(spec, like, a, b)
    linear = (lambda x: forward(spec, x, a)) if result == "x" else (lambda w: forward(spec, a, w))
    return _transpose(linear, like, b).astype(dtype)


def on_cpu(
    spec: ConvSpec, result: Role, like: jax.ShapeDtypeStruct, a: jax.Array, b: jax.Array
) -> jax.Array:
    """The same on CPU; arguments as for `on_accelerator`."""
    if result == "g":
        return _output(spec, like.shape, a, b)
    dtype = like.dtype
    spec, like, a, b = _of_one_dtype(spec, like, a, b)
    gradient = _input_gradient if result == "x" else _kernel_gradient
    return gradient(spec, like, a, b).astype(dtype)


def _of_one_dtype(spec: ConvSpec, like: jax.ShapeDtypeStruct, a: jax.Array, b: jax.Array):
    """Arrays in one type: gradients are computed in the wider type that a convolution sums in."""
    dtype = jnp.promote_types(a.dtype, b.dtype)
    spec = spec._replace(preferred_element_type=None)
    return spec, jax.ShapeDtypeStruct(like.shape, dtype), a.astype(dtype), b.astype(dtype)


def _output(spec: ConvSpec, shape: tuple[int, ...], x: jax.Array, w: jax.Array) -> jax.Array:
    if not spec.is_plain(x.ndim) or not is_matrix_product(shape, w.shape):
        return direct(spec, x, w)
    return _matrix_product(spec, shape, x, w)


def _input_gradient(
    spec: ConvSpec, x: jax.ShapeDtypeStruct, w: jax.Array, g: jax.Array
) -> jax.Array:
    """The cotangent of an input like `x`, from the kernel and the cotangent of the output, `g`."""
    if spec.is_plain(w.ndim) and not is_matrix_product(g.shape, w.shape):
        backward, kernel = turned(spec, x.shape, g.shape, w)
        return direct(backward, g, kernel)
    if spec.is_plain(w.ndim) and prod(g.shape[:-1]) <= MANY_ROWS * g.shape[-1]:
        return _input_gradient_as_matrix_product(spec, x, w, g)
    return _transpose(lambda x: _output(spec, g.shape, x, w), x, g)


def _kernel_gradient(
    spec: ConvSpec, w: jax.ShapeDtypeStruct, x: jax.Array, g: jax.Array
) -> jax.Array:
    """The cotangent of a kernel like `w`, from the input and the cotangent of the output, `g`."""
    if not spec.is_plain(x.ndim) or is_matrix_product(g.shape, w.shape):
        return _transpose(lambda w: _output(spec, g.shape, x, w), w, g)
    at_once = partial(_kernel_gradient_as_convolution, spec, w)
    num_slices, ragged = divmod(len(x), SLICE)
    if ragged or num_slices > MAX_SLICES:
        return at_once(x, g)
    starts = range(0, len(x), SLICE)
    return reduce(jnp.add, [at_once(x[i : i + SLICE], g[i : i + SLICE]) for i in starts])


def is_matrix_product(out: tuple[int, ...], w: tuple[int, ...]) -> bool:
    """Whether a plain convolution with outputs of this shape becomes a matrix product on CPU."""
    num_pixels = MEDIUM_MAP if w[-2] <= FEW_FEATURES else SMALL_MAP
    return prod(out[1:-1]) <= num_pixels and prod(w[:-2]) > 1


def _matrix_product(
    spec: ConvSpec, shape: tuple[int, ...], x: jax.Array, w: jax.Array
) -> jax.Array:
    """Every window as a row: shifted slices side by side, times the flattened kernel."""
    slices = windows(spec, w.shape[:-2], shape[1:-1], x)
    rows = jnp.concatenate(slices, axis=-1).reshape(-1, prod(w.shape[:-1]))
    kernel = w.reshape(-1, w.shape[-1])
    out = jnp.matmul(
        rows,
        kernel,
        precision=spec.precision,
        preferred_element_type=spec.preferred_element_type,
    )
    return out.reshape(shape)


def windows(
    spec: ConvSpec, window: tuple[int, ...], space: tuple[int, ...], x: jax.Array, start: int = 1
) -> list[jax.Array]:
    """The entries of `x` at each place of the window; spatial axes of `x` begin at `start`."""
    padding = [(0, 0, 0)] * x.ndim
    padding[start : start + len(space)] = [(low, high, 0) for low, high in spec.padding]
    padded = lax.pad(x, jnp.zeros((), x.dtype), padding)
    slices = []
    for offset in product(*(range(size) for size in window)):
        begin = [o * d for o, d in zip(offset, spec.rhs_dilation)]
        end = [s + (n - 1) * k + 1 for s, n, k in zip(begin, space, spec.strides)]
        cut = (slice(s, e, k) for s, e, k in zip(begin, end, spec.strides))
        slices.append(padded[(*[slice(None)] * start, *cut)])
    return slices


def varying_alike(*arrays: Any) -> list[Any]:
    """Within `jax.shard_map`, marks all arrays as varying over devices if one of them does."""
    axes = [jax.typeof(array).mat.varying for array in arrays]
    missing = [tuple(frozenset.union(*axes) - own) for own in axes]
    return [
        lax.pcast(array, names, to="varying") if names else array
        for array, names in zip(arrays, missing)
    ]


def _transpose(linear: Callable, like: jax.ShapeDtypeStruct, cotangent: jax.Array) -> jax.Array:
    # Were the argument the same on all devices, its gradient would be summed over them.
    primal, _ = varying_alike(jnp.zeros(like.shape, like.dtype), cotangent)
    return jax.linear_transpose(linear, primal)(cotangent)[0]


def turned(
    spec: ConvSpec, x: tuple[int, ...], g: tuple[int, ...], w: jax.Array
) -> tuple[ConvSpec, jax.Array]:
    """The convolution that gives the input's cotangent, of the output's spread out by strides."""
    padding = []
    for n, m, k, stride, dilation, (low, _) in _by_axis(spec, x, g, w.shape):
        window = (k - 1) * dilation
        before = window - low
        padding.append((before, n + window - 1 - (m - 1) * stride - before))
    kernel = jnp.flip(w, range(w.ndim - 2)).swapaxes(-1, -2)
    ones = (1,) * len(padding)
    return spec._replace(strides=ones, padding=tuple(padding), lhs_dilation=spec.strides), kernel


def _input_gradient_as_matrix_product(
    spec: ConvSpec, x: jax.ShapeDtypeStruct, w: jax.Array, g: jax.Array
) -> jax.Array:
    """The kernel times every cotangent, added back at the places that each window was read from."""
    rows = jnp.moveaxis(g, 0, -2).reshape(-1, g.shape[-1])
    kernel = w.reshape(-1, w.shape[-1])
    windows = lax.dot_general(kernel, rows, (((1,), (1,)), ((), ())), precision=spec.precision)
    windows = windows.reshape(*w.shape[:-1], *g.shape[1:-1], len(g))
    total = jnp.zeros((x.shape[-1], *x.shape[1:-1], len(g)), g.dtype)
    for offset in product(*(range(size) for size in w.shape[:-2])):
        padding = []
        for o, (n, m, _, stride, dilation, (low, _)) in zip(
            offset, _by_axis(spec, x.shape, g.shape, w.shape)
        ):
            before = o * dilation - low
            padding.append((before, n - before - (m - 1) * stride - 1, stride - 1))
        zero = jnp.zeros((), g.dtype)
        total += lax.pad(windows[offset], zero, ((0, 0, 0), *padding, (0, 0, 0)))
    return jnp.swapaxes(total, 0, -1)


def _kernel_gradient_as_convolution(
    spec: ConvSpec, w: jax.ShapeDtypeStruct, x: jax.Array, g: jax.Array
) -> jax.Array:
    """The input convolved with the cotangent, with examples and channels swapped."""
    padding = []
    for n, m, k, stride, dilation, (low, _) in _by_axis(spec, x.shape, g.shape, w.shape):
        window = (m - 1) * stride + 1
        padding.append((low, (k - 1) * dilation + window - n - low))
    backward = spec._replace(
        strides=spec.rhs_dilation, padding=tuple(padding), rhs_dilation=spec.strides
    )
    out = direct(backward, jnp.swapaxes(x, 0, -1), jnp.moveaxis(g, 0, -2))
    return jnp.moveaxis(out, 0, -2)


def _by_axis(spec: ConvSpec, x: tuple[int, ...], g: tuple[int, ...], w: tuple[int, ...]):
    """Sizes of input, output and kernel, and the settings, of each spatial axis."""
    return zip(x[1:-1], g[1:-1], w[:-2], spec.strides, spec.rhs_dilation, spec.padding)
