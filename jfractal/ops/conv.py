"""The one convolution: `lax.conv_general_dilated`, fast under `vmap` and `grad`.

`vmap` over kernels turns a convolution into a grouped one, whose gradient XLA's CPU backend runs
some forty times slower than the same convolutions one by one; and on maps of a few pixels it
reaches a tenth of the speed of a matrix product. So the operation has its own rules:

- it is a `custom_vjp` whose three parts (output, input gradient, kernel gradient) are bilinear
  and each bring a batching rule, so that ``jit(grad(vmap(...)))`` in user code is fast as it is;
- on small maps, and on larger ones of few features, it is lowered, on CPU, to shifted slices and
  one matrix product;
- on CPU its gradients are convolutions of transposed arrays: left to itself, XLA transposes for
  its fast kernels outside of loops only, and a `scan` over training steps is twenty times slower.

What it computes is what `lax` computes. Reverse-mode differentiation only, once: there is no `jvp`.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import product
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jfractal.errors import InputError

__all__ = ["conv_general_dilated"]

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


class _Spec(NamedTuple):
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


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """Convolves as `jax.lax.conv_general_dilated`, with fast rules for `vmap` and `grad`.

    Takes the arguments of the function it stands for, so it can be handed to any Flax
    convolution: ``nn.Conv(..., conv_general_dilated=jfractal.ops.conv_general_dilated)``.

    Args:
        lhs: Input, by default NCHW as in `lax`; Flax passes NHWC dimension numbers.
        rhs: Kernel.
        window_strides: One stride for each spatial axis.
        padding: ``"SAME"``, ``"VALID"`` or (low, high) for each spatial axis.
        lhs_dilation: Dilation of the input.
        rhs_dilation: Dilation of the kernel.
        dimension_numbers: As in `lax`.
        feature_group_count: As in `lax`.
        batch_group_count: As in `lax`.
        precision: As in `lax`.
        preferred_element_type: As in `lax`.

    Returns:
        The output, equal to that of `lax` up to rounding.

    Raises:
        InputError: If `padding` is a string while `lhs_dilation` is not 1.
    """
    dimensions = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    num_spatial = lhs.ndim - 2
    rhs_dilation = tuple(rhs_dilation or (1,) * num_spatial)
    lhs_dilation = tuple(lhs_dilation or (1,) * num_spatial)
    if isinstance(padding, str):
        sizes = [lhs.shape[axis] for axis in dimensions.lhs_spec[2:]]
        window = [rhs.shape[axis] for axis in dimensions.rhs_spec[2:]]
        dilated = [(k - 1) * d + 1 for k, d in zip(window, rhs_dilation)]
        if set(lhs_dilation) != {1}:
            raise InputError(
                f"`padding` must be given in numbers with `lhs_dilation`, got {padding!r}"
            )
        padding = lax.padtype_to_pads(sizes, dilated, window_strides, padding)
    spec = _Spec(
        tuple(window_strides),
        tuple((int(low), int(high)) for low, high in padding),
        lhs_dilation,
        rhs_dilation,
        dimensions,
        feature_group_count,
        batch_group_count,
        precision,
        preferred_element_type,
    )
    return _conv(spec, lhs, rhs)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv(spec: _Spec, x: jax.Array, w: jax.Array) -> jax.Array:
    return _output(spec)(x, w)


def _conv_forward(spec: _Spec, x: jax.Array, w: jax.Array):
    return _output(spec)(x, w), (x, w)


def _conv_backward(spec: _Spec, residuals, g: jax.Array):
    x, w = residuals
    return (
        _input_gradient(spec, x.shape, x.dtype)(g, w),
        _kernel_gradient(spec, w.shape, w.dtype)(x, g),
    )


_conv.defvjp(_conv_forward, _conv_backward)


# The three bilinear parts. Each is cached, because `custom_vmap` objects compare by identity and
# an equal convolution must not trace anew.


@cache
def _output(spec: _Spec) -> Callable:
    def batched(axis_size: int, in_batched: list[bool], x: jax.Array, w: jax.Array):
        match in_batched:
            case [True, False] if spec.batch_group_count == 1:
                return _over_folded_batch(operation, spec, axis_size, x, w), True
            case [False, True] if _grouping(spec) == (1, 1):
                return _over_merged_features(operation, spec, axis_size, x, w), True
        if axis_size == 1:
            on_cpu = partial(_unrolled, operation, in_batched, axis_size)
        else:
            on_cpu = partial(_one_by_one, operation, in_batched)
        return _by_platform(on_cpu, jax.vmap(partial(_lower, spec), _axes(in_batched)), x, w), True

    operation = _with_batching(partial(_lower, spec), batched)
    return operation


@cache
def _input_gradient(spec: _Spec, shape: tuple[int, ...], dtype: Any) -> Callable:
    x = jax.ShapeDtypeStruct(shape, dtype)

    def transposed(g: jax.Array, w: jax.Array) -> jax.Array:
        return _transpose(lambda x: _lower(spec, x, w), x, g)

    def gradient(g: jax.Array, w: jax.Array) -> jax.Array:
        if not _is_plain(spec, len(shape)):
            return transposed(g, w)
        if not _is_matrix_product(g.shape, w.shape):
            on_cpu = partial(_input_gradient_as_convolution, spec, x)
        elif prod(g.shape[:-1]) <= MANY_ROWS * g.shape[-1]:
            on_cpu = partial(_input_gradient_as_matrix_product, spec, x)
        else:
            on_cpu = transposed
        return _by_platform(on_cpu, transposed, g, w)

    def batched(axis_size: int, in_batched: list[bool], g: jax.Array, w: jax.Array):
        match in_batched:
            case [True, False] if spec.batch_group_count == 1:
                axis = spec.dimensions.lhs_spec[0]
                folded = (*shape[:axis], shape[axis] * axis_size, *shape[axis + 1 :])
                x = _input_gradient(spec, folded, dtype)(_fold(g, spec.dimensions.out_spec[0]), w)
                return _unfold(x, axis, axis_size), True
        on_cpu = partial(_unrolled, operation, in_batched, axis_size)
        return _by_platform(on_cpu, jax.vmap(gradient, _axes(in_batched)), g, w), True

    operation = _with_batching(gradient, batched)
    return operation


@cache
def _kernel_gradient(spec: _Spec, shape: tuple[int, ...], dtype: Any) -> Callable:
    w = jax.ShapeDtypeStruct(shape, dtype)

    def transposed(x: jax.Array, g: jax.Array) -> jax.Array:
        return _transpose(lambda w: _lower(spec, x, w), w, g)

    at_once = partial(_kernel_gradient_as_convolution, spec, w)

    def in_slices(x: jax.Array, g: jax.Array) -> jax.Array:
        starts = range(0, len(x), SLICE)
        return sum(at_once(x[i : i + SLICE], g[i : i + SLICE]) for i in starts)  # pyright: ignore

    def gradient(x: jax.Array, g: jax.Array) -> jax.Array:
        if not _is_plain(spec, len(shape)) or _is_matrix_product(g.shape, shape):
            return transposed(x, g)
        num_slices, ragged = divmod(len(x), SLICE)
        on_cpu = at_once if ragged or num_slices > MAX_SLICES else in_slices
        return _by_platform(on_cpu, transposed, x, g)

    def batched(axis_size: int, in_batched: list[bool], x: jax.Array, g: jax.Array):
        on_cpu = partial(_unrolled, operation, in_batched, axis_size)
        return _by_platform(on_cpu, jax.vmap(gradient, _axes(in_batched)), x, g), True

    operation = _with_batching(gradient, batched)
    return operation


def _with_batching(function: Callable, rule: Callable) -> Callable:
    operation = jax.custom_batching.custom_vmap(function)
    operation.def_vmap(rule)
    return jax.jit(operation)  # traced and lowered once, however many layers are alike


def _transpose(linear: Callable, primal: Any, cotangent: jax.Array) -> jax.Array:
    return jax.linear_transpose(linear, primal)(cotangent)[0]


def _is_plain(spec: _Spec, ndim: int) -> bool:
    """Whether the gradients may be written as below."""
    return _is_ungrouped(spec, ndim) and spec.preferred_element_type is None


def _input_gradient_as_convolution(
    spec: _Spec, x: jax.ShapeDtypeStruct, g: jax.Array, w: jax.Array
) -> jax.Array:
    """The cotangent, spread out by the strides, with the kernel turned round."""
    padding = []
    for n, m, k, stride, dilation, (low, _) in _by_axis(spec, x.shape, g.shape, w.shape):
        window = (k - 1) * dilation
        before = window - low
        padding.append((before, n + window - 1 - (m - 1) * stride - before))
    turned = jnp.flip(w, range(w.ndim - 2)).swapaxes(-1, -2)
    ones = (1,) * len(padding)
    backward = spec._replace(strides=ones, padding=tuple(padding), lhs_dilation=spec.strides)
    return _direct(backward, g, turned).astype(x.dtype)


def _input_gradient_as_matrix_product(
    spec: _Spec, x: jax.ShapeDtypeStruct, g: jax.Array, w: jax.Array
) -> jax.Array:
    """The kernel times every cotangent: what each window gives back, laid where it was read."""
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
    return jnp.swapaxes(total, 0, -1).astype(x.dtype)


def _kernel_gradient_as_convolution(
    spec: _Spec, w: jax.ShapeDtypeStruct, x: jax.Array, g: jax.Array
) -> jax.Array:
    """The input with the cotangent for a kernel: channels are examples, examples are channels."""
    padding = []
    for n, m, k, stride, dilation, (low, _) in _by_axis(spec, x.shape, g.shape, w.shape):
        window = (m - 1) * stride + 1
        padding.append((low, (k - 1) * dilation + window - n - low))
    backward = spec._replace(
        strides=spec.rhs_dilation, padding=tuple(padding), rhs_dilation=spec.strides
    )
    out = _direct(backward, jnp.swapaxes(x, 0, -1), jnp.moveaxis(g, 0, -2))
    return jnp.moveaxis(out, 0, -2).astype(w.dtype)


def _by_axis(spec: _Spec, x: tuple[int, ...], g: tuple[int, ...], w: tuple[int, ...]):
    """Sizes of input, output and kernel, and the settings, of each spatial axis."""
    return zip(x[1:-1], g[1:-1], w[:-2], spec.strides, spec.rhs_dilation, spec.padding)


# Batching rules


def _axes(in_batched: Sequence[bool]) -> tuple[int | None, ...]:
    return tuple(0 if is_batched else None for is_batched in in_batched)


def _by_platform(on_cpu: Callable, elsewhere: Callable, *args: jax.Array) -> jax.Array:
    return lax.platform_dependent(*args, cpu=on_cpu, default=elsewhere)


def _one_by_one(operation: Callable, in_batched: Sequence[bool], *args: jax.Array) -> jax.Array:
    """A loop in the program: its size does not grow with the number of convolutions."""
    mapped = [a for a, is_batched in zip(args, in_batched) if is_batched]

    def body(slices):
        it = iter(slices)
        return operation(*(next(it) if m else a for a, m in zip(args, in_batched)))

    return lax.map(body, mapped)


def _unrolled(
    operation: Callable, in_batched: Sequence[bool], axis_size: int, *args: jax.Array
) -> jax.Array:
    """No loop: within one, XLA's CPU backend runs grouped and transposed convolutions slowly."""
    return jnp.stack(
        [operation(*(a[i] if m else a for a, m in zip(args, in_batched))) for i in range(axis_size)]
    )


def _fold(x: jax.Array, axis: int) -> jax.Array:
    """Merges the leading axis into `axis` of what follows it."""
    x = jnp.moveaxis(x, 0, axis)
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


def _unfold(x: jax.Array, axis: int, size: int) -> jax.Array:
    """The inverse of `_fold`."""
    return jnp.moveaxis(x.reshape(*x.shape[:axis], size, -1, *x.shape[axis + 1 :]), axis, 0)


def _over_folded_batch(operation: Callable, spec: _Spec, size: int, x: jax.Array, w: jax.Array):
    """One kernel, many inputs: one convolution with a larger batch."""
    y = operation(_fold(x, spec.dimensions.lhs_spec[0]), w)
    return _unfold(y, spec.dimensions.out_spec[0], size)


def _over_merged_features(operation: Callable, spec: _Spec, size: int, x: jax.Array, w: jax.Array):
    """One input, many kernels: one convolution with more output features."""
    y = operation(x, _fold(w, spec.dimensions.rhs_spec[0]))
    return _unfold(y, spec.dimensions.out_spec[1], size)


# Lowering of a single convolution


def _grouping(spec: _Spec) -> tuple[int, int]:
    return spec.feature_group_count, spec.batch_group_count


def _lower(spec: _Spec, x: jax.Array, w: jax.Array) -> jax.Array:
    direct, product_of_slices = partial(_direct, spec), partial(_matrix_product, spec)
    shape = jax.eval_shape(direct, x, w).shape
    if not _is_ungrouped(spec, x.ndim) or not _is_matrix_product(shape, w.shape):
        return direct(x, w)
    return _by_platform(product_of_slices, direct, x, w)


def _is_ungrouped(spec: _Spec, ndim: int) -> bool:
    """Whether it is as nets use it: channels last, one group, the input not dilated."""
    spatial = range(1, ndim - 1)
    channels_last = (
        (0, ndim - 1, *spatial),
        (ndim - 1, ndim - 2, *range(ndim - 2)),
        (0, ndim - 1, *spatial),
    )
    return (
        spec.dimensions == channels_last
        and _grouping(spec) == (1, 1)
        and set(spec.lhs_dilation) == {1}
    )


def _is_matrix_product(out: tuple[int, ...], w: tuple[int, ...]) -> bool:
    num_pixels = MEDIUM_MAP if w[-2] <= FEW_FEATURES else SMALL_MAP
    return prod(out[1:-1]) <= num_pixels and prod(w[:-2]) > 1


def _direct(spec: _Spec, x: jax.Array, w: jax.Array) -> jax.Array:
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


def _matrix_product(spec: _Spec, x: jax.Array, w: jax.Array) -> jax.Array:
    """Every window as a row: shifted slices side by side, times the flattened kernel."""
    shape = jax.eval_shape(partial(_direct, spec), x, w).shape
    zero = jnp.zeros((), x.dtype)
    padded = lax.pad(x, zero, ((0, 0, 0), *((lo, hi, 0) for lo, hi in spec.padding), (0, 0, 0)))
    slices = []
    for offset in product(*(range(size) for size in w.shape[:-2])):
        start = [o * d for o, d in zip(offset, spec.rhs_dilation)]
        stop = [s + (n - 1) * k + 1 for s, n, k in zip(start, shape[1:-1], spec.strides)]
        window = (slice(s, e, k) for s, e, k in zip(start, stop, spec.strides))
        slices.append(padded[(slice(None), *window)])
    rows = jnp.concatenate(slices, axis=-1).reshape(-1, prod(w.shape[:-1]))
    kernel = w.reshape(-1, w.shape[-1])
    out = jnp.matmul(
        rows,
        kernel,
        precision=spec.precision,
        preferred_element_type=spec.preferred_element_type,
    )
    return out.reshape(shape)
