"""The convolution of all nets: `lax.conv_general_dilated`, fast under `vmap` and `grad`.

`vmap` over kernels turns a convolution of `lax` into a grouped one, whose gradient XLA's CPU
backend runs about forty times slower than the same convolutions one by one. Here the convolution is
a separate primitive, see `jfractal.ops.trilinear`. It supports every transformation of JAX, in any
order, so ``jit(grad(vmap(...)))`` in user code is fast. It computes the same as `lax`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jfractal.arguments import as_array, check_choice, described
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.ops.lowering import ConvSpec
from jfractal.ops.trilinear import convolve

__all__ = ["conv_general_dilated"]

MOST_PADDING = 2**20  # zeros on one side; below 0, entries that are cut off


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
    """Convolves as `jax.lax.conv_general_dilated`, but fast under `vmap` and `grad`.

    It takes the same arguments, so it can be passed to any Flax convolution:
    ``nn.Conv(..., conv_general_dilated=jfractal.ops.conv_general_dilated)``.

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
        InputError: If `padding` is a string while `lhs_dilation` is not 1, or shapes do not fit.
    """
    lhs, rhs = jnp.asarray(as_array("lhs", lhs)), jnp.asarray(as_array("rhs", rhs))
    if lhs.ndim != rhs.ndim or lhs.ndim < 2 or not rhs.size:
        raise InputError(
            "`lhs` and `rhs` must have the same number of axes, batch, channels and spatial axes, "
            f"none of `rhs` empty, got the shapes {lhs.shape} and {rhs.shape}"
        )
    dimensions = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    num_spatial = lhs.ndim - 2
    window_strides = _numbers("window_strides", window_strides, num_spatial)
    rhs_dilation = _numbers("rhs_dilation", rhs_dilation or (1,) * num_spatial, num_spatial)
    lhs_dilation = _numbers("lhs_dilation", lhs_dilation or (1,) * num_spatial, num_spatial)
    check_counts(feature_group_count=feature_group_count, batch_group_count=batch_group_count)
    if isinstance(padding, str):
        check_choice("padding", padding, ("SAME", "SAME_LOWER", "VALID"))
        sizes = [lhs.shape[axis] for axis in dimensions.lhs_spec[2:]]
        window = [rhs.shape[axis] for axis in dimensions.rhs_spec[2:]]
        dilated = [(k - 1) * d + 1 for k, d in zip(window, rhs_dilation)]
        if set(lhs_dilation) != {1}:
            raise InputError(
                f"`padding` must be numbers if `lhs_dilation` is given, got {padding!r}"
            )
        padding = lax.padtype_to_pads(sizes, dilated, window_strides, padding)
    spec = ConvSpec(
        window_strides,
        tuple((int(low), int(high)) for low, high in _pairs(padding, num_spatial)),
        lhs_dilation,
        rhs_dilation,
        dimensions,
        feature_group_count,
        batch_group_count,
        jax.config.jax_default_matmul_precision if precision is None else precision,  # pyright: ignore
        None if preferred_element_type is None else np.dtype(preferred_element_type),
    )
    return convolve(spec, lhs, rhs)


def _numbers(name: str, values: Any, num_spatial: int) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or len(values) != num_spatial:
        raise InputError(
            f"`{name}` must be one number for each of {num_spatial} spatial axes, got "
            f"{described(values)}"
        )
    for value in values:
        check_counts(**{name: value})
    return tuple(values)


def _pairs(padding: Any, num_spatial: int) -> Sequence[tuple[int, int]]:
    is_list = isinstance(padding, tuple | list) and len(padding) == num_spatial
    if not is_list or not all(isinstance(p, tuple | list) and len(p) == 2 for p in padding):
        raise InputError(
            f"`padding` must be a name, or (low, high) for each of {num_spatial} spatial axes, "
            f"got {described(padding)}"
        )
    for number in (number for pair in padding for number in pair):
        check_counts(-MOST_PADDING, MOST_PADDING, padding=number)
    return padding
