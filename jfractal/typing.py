"""The vocabulary of shapes that all signatures in the package share.

Axes are named ``batch height width channels`` (images, NHWC), ``features`` (flat inputs),
``classes``, ``samples`` (draws of the weights), ``chains draws`` (Markov chains). A leading
``*batch`` means any number of batch axes, including none.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped

__all__ = [
    "Apply",
    "Array",
    "Bool",
    "Float",
    "Images",
    "Int",
    "KeyArray",
    "Labels",
    "Logits",
    "Params",
    "Probs",
    "PyTree",
    "Scalar",
    "Shaped",
    "Variables",
]

KeyArray: TypeAlias = Key[Array, ""]
Scalar: TypeAlias = Float[Array, ""]
Images: TypeAlias = Float[Array, "batch height width channels"]
Labels: TypeAlias = Int[Array, "*batch"]
Logits: TypeAlias = Float[Array, "*batch classes"]
Probs: TypeAlias = Float[Array, "*batch classes"]

Params: TypeAlias = PyTree
"""Weights of a net: a tree of arrays, of `Gaussian` leaves, or of both."""

Variables: TypeAlias = dict[str, Any]
"""The first argument of Flax's `apply`: ``{"params": ..., "batch_stats": ...}``."""

Apply: TypeAlias = Callable[..., Any]
"""``apply(variables, x, **kwargs) -> outputs``, as in ``flax.linen.Module.apply``."""
