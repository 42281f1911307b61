"""The matrix product of dense layers: `lax.dot_general`, fast in bfloat16 on a CPU."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jfractal.arguments import as_array
from jfractal.errors import InputError
from jfractal.ops.lowering import ConvSpec
from jfractal.ops.trilinear import convolve

__all__ = ["dot_general"]

# A dense layer is a convolution without space: examples, features.
NO_SPACE = lax.ConvDimensionNumbers((0, 1), (1, 0), (0, 1))


def dot_general(
    lhs: jax.Array,
    rhs: jax.Array,
    dimension_numbers: Any,
    precision: Any = None,
    preferred_element_type: Any = None,
    **options: Any,
) -> jax.Array:
    """Multiplies as `jax.lax.dot_general`, but uses a CPU's bfloat16 arithmetic.

    It takes the same arguments, so it can be passed to any dense layer of Flax:
    ``nn.Dense(..., dot_general=jfractal.ops.dot_general)``. Everything but a product of bfloat16
    inputs with one matrix is left to `lax`.

    Args:
        lhs: Inputs, "*batch inputs" in a dense layer.
        rhs: Kernel, "inputs features".
        dimension_numbers: As in `lax`.
        precision: As in `lax`.
        preferred_element_type: As in `lax`.
        **options: As in `lax`.

    Returns:
        The product, equal to that of `lax` up to rounding.

    Raises:
        InputError: If shapes do not fit.

    Example:
        >>> import jax.numpy as jnp, jfractal as jf
        >>> x, w = jnp.ones((2, 3), jnp.bfloat16), jnp.ones((3, 4), jnp.bfloat16)
        >>> jf.ops.dot_general(x, w, (((1,), (0,)), ((), ()))).shape
        (2, 4)
    """
    if not (np.iscomplexobj(lhs) or np.iscomplexobj(rhs)):
        lhs, rhs = jnp.asarray(as_array("lhs", lhs)), jnp.asarray(as_array("rhs", rhs))
    options |= {"precision": precision, "preferred_element_type": preferred_element_type}
    product = partial(lax.dot_general, dimension_numbers=dimension_numbers, **options)
    try:
        out = jax.eval_shape(product, lhs, rhs)
    except (TypeError, ValueError, IndexError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"`lhs` of shape {lhs.shape} and `rhs` of shape {rhs.shape} cannot be multiplied with "
            f"`dimension_numbers` {dimension_numbers}: {reason}"
        ) from error
    if len(options) > 2 or not _is_dense(lhs, rhs, dimension_numbers):
        return product(lhs, rhs)
    precision = jax.config.jax_default_matmul_precision if precision is None else precision  # pyright: ignore
    spec = ConvSpec((), (), (), (), NO_SPACE, 1, 1, precision, out.dtype)
    return convolve(spec, lhs.reshape(-1, lhs.shape[-1]), rhs).reshape(out.shape)


def _is_dense(lhs: Any, rhs: Any, dimension_numbers: Any) -> bool:
    """Whether this is the product of a dense layer in bfloat16, with axes that may be cut."""
    if {jnp.result_type(lhs), jnp.result_type(rhs)} != {jnp.dtype(jnp.bfloat16)}:
        return False
    (contracted, batched) = dimension_numbers
    axes = [tuple(map(int, axes)) for axes in (*contracted, *batched)]
    is_explicit = any(axis is not None for x in (lhs, rhs) for axis in jax.typeof(x).sharding.spec)
    is_product = rhs.ndim == 2 and axes == [(lhs.ndim - 1,), (0,), (), ()]
    return is_product and bool(lhs.size and rhs.size) and not is_explicit
