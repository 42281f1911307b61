"""Standard normal noise for many arrays at once."""

from collections.abc import Sequence
from itertools import accumulate

import jax
import jax.numpy as jnp

from jfractal import ops
from jfractal.typing import Array, KeyArray, Params

__all__ = ["normal_like", "normals"]


def normals(key: KeyArray, like: Sequence[Array]) -> list[Array]:
    """Standard normal arrays, drawn together, because single draws would compile much longer."""
    if not like:
        return []
    flat = ops.normal(key, (sum(x.size for x in like),), jnp.result_type(*like))
    parts = jnp.split(flat, list(accumulate(x.size for x in like[:-1])))
    return [part.reshape(x.shape).astype(x.dtype) for part, x in zip(parts, like, strict=True)]


def normal_like(key: KeyArray, tree: Params) -> Params:
    """A tree of standard normal arrays with the shapes and dtypes of another tree."""
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, normals(key, leaves))
