"""The leaves of a tree by name."""

from typing import Any

import jax

from jfractal.posterior.gaussian import Gaussian
from jfractal.typing import Params

__all__ = ["named_leaves"]


def named_leaves(params: Params) -> list[tuple[str, Any]]:
    """The leaves of a tree and their paths, ``block1/conv/kernel``; a `Gaussian` is one leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(
        params, is_leaf=lambda leaf: isinstance(leaf, Gaussian)
    )
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]
