"""A batch: inputs and targets of the same examples."""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jfractal.arguments import as_array, described
from jfractal.concrete import concrete
from jfractal.errors import InputError

__all__ = ["Batch", "batch_size", "count_inputs"]

Batch: TypeAlias = tuple[Any, Any]
"""Inputs and targets ``(x, y)``, each a tree of arrays with the same leading axis."""


def batch_size(batch: Batch) -> int:
    """The number of examples in a batch, which is checked first.

    Args:
        batch: Inputs and targets, ``(x, y)``, each a tree of arrays.

    Returns:
        The common length of the leading axes of all arrays.

    Raises:
        InputError: If `batch` is not a pair, the lengths differ or are 0, or a value is NaN or
            infinite (checked outside `jit`).
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise InputError(
            f"a batch must be a pair of inputs and targets, (x, y), got a {type(batch).__name__}"
        )
    for name, part in zip(("inputs", "targets"), batch):
        leaves = jax.tree.leaves(part)
        if not leaves or not all(map(_is_numeric, leaves)):
            raise InputError(f"the {name} must be arrays of numbers, got {described(part)}")
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batch)]
    sizes = {shape[0] if shape else 0 for shape in shapes}
    if len(sizes) != 1 or 0 in sizes:
        raise InputError(
            "inputs and targets must have the same number of examples, at least 1, on their "
            f"leading axis, got shapes {shapes}"
        )
    for name, part in zip(("inputs", "targets"), batch):
        if any(_is_not_finite(leaf) for leaf in jax.tree.leaves(part)):
            raise InputError(f"the {name} must be finite numbers, got a NaN or an infinity")
    return sizes.pop()


def count_inputs(x: Any) -> int:
    """The number of examples in inputs without targets; inputs may be NaN, as outputs then are.

    Raises:
        InputError: If `x` holds no arrays of numbers, or their leading axes differ or are empty.
    """
    shapes = [as_array("x", leaf).shape for leaf in jax.tree.leaves(x)]
    sizes = {shape[0] if shape else 0 for shape in shapes}
    if len(sizes) != 1 or 0 in sizes:
        raise InputError(
            "`x` must be an array, or a tree of arrays, with the same number of examples, at least "
            f"1, on every leading axis, got shapes {shapes}"
        )
    return sizes.pop()


def _is_numeric(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", type(leaf))
    return dtype in (bool, int, float) or any(
        jnp.issubdtype(dtype, kind) for kind in (jnp.number, jnp.bool_)
    )


def _is_not_finite(leaf: Any) -> bool:
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
        return False
    values = concrete(leaf)
    return values is not None and not np.isfinite(values).all()
