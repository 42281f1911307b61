"""Variables of alike units side by side, as a loop over a chain of alike parts needs them."""

from collections.abc import Callable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfractal import topology

__all__ = ["places", "stack", "unstack"]


def places(expr: topology.Expr) -> dict[str, np.ndarray]:
    """Of each unit that is left to write down in an expression with loops: whose places it takes.

    Args:
        expr: The expression, see `topology.roll`.

    Returns:
        By the name of the unit, the names of all that it stands for, itself first: an array with an
        axis for each loop around it, outermost first.
    """
    match expr:
        case topology.Unit(name=name):
            return {name: np.array(name)}
        case topology.Loop(parts):
            first, *_ = alike = [places(part) for part in parts]
            names = zip(*(part.values() for part in alike))
            return {place: np.stack(taken) for place, taken in zip(first, names)}
        case topology.Seq(parts) | topology.Join(parts):
            return {place: names for part in parts for place, names in places(part).items()}
        case _:
            return {}


def stack(variables: Callable[[str], Any], names: np.ndarray) -> Any:
    """The variables of units as one tree, with the axes of `names` in front.

    Args:
        variables: ``variables(name)``, a tree of arrays.
        names: Names of the units.

    Returns:
        The tree; None if those of the units differ in structure, shape or type.
    """
    trees = [variables(name) for name in names.flat]
    kinds = {(jax.tree.structure(t), *map(jax.typeof, jax.tree.leaves(t))) for t in trees}
    if len(kinds) > 1:
        return None
    return jax.tree.map(lambda *xs: jnp.stack(xs).reshape(*names.shape, *xs[0].shape), *trees)


def unstack(tree: Any, names: np.ndarray) -> dict[str, Any]:
    """The inverse of `stack`, by name."""
    flat = jax.tree.map(lambda x: x.reshape(prod(names.shape), *x.shape[names.ndim :]), tree)
    return {name: jax.tree.map(lambda x: x[i], flat) for i, name in enumerate(names.flat)}  # noqa: B023
