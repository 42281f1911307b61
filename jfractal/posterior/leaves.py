"""Some leaves of a tree, by path: the uncertain leaves of a posterior."""

from typing import Any

import jax

from jfractal.arguments import check_functions
from jfractal.errors import InputError
from jfractal.posterior.gaussian import Where, check_weights, named_leaves
from jfractal.typing import Params

__all__ = ["replace", "select"]


def select(params: Params, where: Where) -> dict[str, Any]:
    """The leaves of a tree of arrays that ``where(path, leaf)`` picks, by path.

    Raises:
        InputError: If `where` picks none.
    """
    check_weights(params)
    check_functions(where=where)
    leaves = dict(named_leaves(params))
    chosen = {path: leaf for path, leaf in leaves.items() if where(path, leaf)}
    if not chosen:
        raise InputError(f"`where` must pick at least one of the leaves {list(leaves)}")
    return chosen


def replace(params: Params, leaves: dict[str, Any]) -> Params:
    """The tree of arrays in which `leaves` replace the leaves at their paths."""
    merged = dict(named_leaves(params)) | leaves
    return jax.tree.unflatten(jax.tree.structure(params), merged.values())
