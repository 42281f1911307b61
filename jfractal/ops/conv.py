"""The one convolution: `lax.conv_general_dilated`, fast under `vmap` and `grad`.

`vmap` over kernels turns a convolution into a grouped one, whose gradient XLA's CPU backend runs
some forty times slower than the same convolutions one by one. So the operation is a `custom_vjp`
whose three parts (output, input gradient, kernel gradient) are bilinear and each bring a batching
rule, and ``jit(grad(vmap(...)))`` in user code is fast as it is. What each part is compiled to, see
`jfractal.ops.lowering`.

What it computes is what `lax` computes. Reverse-mode differentiation only, once: there is no `jvp`.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jfractal.errors import InputError
from jfractal.ops import lowering
from jfractal.ops.lowering import ConvSpec, by_platform

__all__ = ["conv_general_dilated"]


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
    spec = ConvSpec(
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
def _conv(spec: ConvSpec, x: jax.Array, w: jax.Array) -> jax.Array:
    return _output(spec)(x, w)


def _conv_forward(spec: ConvSpec, x: jax.Array, w: jax.Array):
    return _output(spec)(x, w), (x, w)


def _conv_backward(spec: ConvSpec, residuals, g: jax.Array):
    x, w = residuals
    return (
        _input_gradient(spec, x.shape, x.dtype)(g, w),
        _kernel_gradient(spec, w.shape, w.dtype)(x, g),
    )


_conv.defvjp(_conv_forward, _conv_backward)


# The three bilinear parts. Each is cached, because `custom_vmap` objects compare by identity and
# an equal convolution must not trace anew.


@cache
def _output(spec: ConvSpec) -> Callable:
    output = partial(lowering.output, spec)

    def batched(axis_size: int, in_batched: list[bool], x: jax.Array, w: jax.Array):
        match in_batched:
            case [True, False] if spec.batch_group_count == 1:
                return _over_folded_batch(operation, spec, axis_size, x, w), True
            case [False, True] if spec.grouping == (1, 1):
                return _over_merged_features(operation, spec, axis_size, x, w), True
        if axis_size == 1:
            on_cpu = partial(_unrolled, operation, in_batched, axis_size)
        else:
            on_cpu = partial(_one_by_one, operation, in_batched)
        return by_platform(on_cpu, jax.vmap(output, _axes(in_batched)), x, w), True

    operation = _with_batching(output, batched)
    return operation


@cache
def _input_gradient(spec: ConvSpec, shape: tuple[int, ...], dtype: Any) -> Callable:
    gradient = partial(lowering.input_gradient, spec, jax.ShapeDtypeStruct(shape, dtype))

    def batched(axis_size: int, in_batched: list[bool], g: jax.Array, w: jax.Array):
        match in_batched:
            case [True, False] if spec.batch_group_count == 1:
                axis = spec.dimensions.lhs_spec[0]
                folded = (*shape[:axis], shape[axis] * axis_size, *shape[axis + 1 :])
                x = _input_gradient(spec, folded, dtype)(_fold(g, spec.dimensions.out_spec[0]), w)
                return _unfold(x, axis, axis_size), True
        on_cpu = partial(_unrolled, operation, in_batched, axis_size)
        return by_platform(on_cpu, jax.vmap(gradient, _axes(in_batched)), g, w), True

    operation = _with_batching(gradient, batched)
    return operation


@cache
def _kernel_gradient(spec: ConvSpec, shape: tuple[int, ...], dtype: Any) -> Callable:
    gradient = partial(lowering.kernel_gradient, spec, jax.ShapeDtypeStruct(shape, dtype))

    def batched(axis_size: int, in_batched: list[bool], x: jax.Array, g: jax.Array):
        on_cpu = partial(_unrolled, operation, in_batched, axis_size)
        return by_platform(on_cpu, jax.vmap(gradient, _axes(in_batched)), x, g), True

    operation = _with_batching(gradient, batched)
    return operation


def _with_batching(function: Callable, rule: Callable) -> Callable:
    operation = jax.custom_batching.custom_vmap(function)
    operation.def_vmap(rule)
    return jax.jit(operation)  # traced and lowered once, however many layers are alike


# Batching rules


def _axes(in_batched: Sequence[bool]) -> tuple[int | None, ...]:
    return tuple(0 if is_batched else None for is_batched in in_batched)


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


def _over_folded_batch(operation: Callable, spec: ConvSpec, size: int, x: jax.Array, w: jax.Array):
    """One kernel, many inputs: one convolution with a larger batch."""
    y = operation(_fold(x, spec.dimensions.lhs_spec[0]), w)
    return _unfold(y, spec.dimensions.out_spec[0], size)


def _over_merged_features(
    operation: Callable, spec: ConvSpec, size: int, x: jax.Array, w: jax.Array
):
    """One input, many kernels: one convolution with more output features."""
    y = operation(x, _fold(w, spec.dimensions.rhs_spec[0]))
    return _unfold(y, spec.dimensions.out_spec[1], size)
