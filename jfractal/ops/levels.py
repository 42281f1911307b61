"""A convolution under any number of `vmap`s, as few convolutions.

Each `vmap` is a `Level`: its size, and which of the three arrays of a convolution have it as an
axis. A level that two arrays have is merged into the axis that these two share: the batch (input
and output), the output features (kernel and output), or the input features (input and kernel). The
remaining levels belong to all three arrays. They are different convolutions of different inputs,
see `jfractal.ops.candidates`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jfractal.ops.candidates import Platform
from jfractal.ops.lowering import ROLES, ConvSpec, Role

__all__ = ["Level", "evaluate", "num_axes"]


class Level(NamedTuple):
    """One `vmap`.

    Attributes:
        size: Size of the mapped axis.
        x: Whether the input has the axis. If not, it is shared, or summed if it is the result.
        w: Whether the kernel has the axis.
        g: Whether the output, or its cotangent, has the axis.
    """

    size: int
    x: bool
    w: bool
    g: bool

    def has(self, role: Role) -> bool:
        """Whether the array has the axis."""
        return getattr(self, role)

    @property
    def roles(self) -> frozenset[Role]:
        """The arrays that have the axis."""
        return frozenset(role for role in ROLES if self.has(role))


Levels = tuple[Level, ...]  # outermost first: each array begins with the axes it has of them
Arrays = dict[Role, jax.Array]


def num_axes(levels: Levels, role: Role) -> int:
    """The number of leading axes of an array."""
    return sum(level.has(role) for level in levels)


def evaluate(
    spec: ConvSpec,
    result: Role,
    like: jax.ShapeDtypeStruct,
    levels: Levels,
    arrays: Arrays,
    platform: Platform,
) -> jax.Array:
    """One array of a convolution from the other two.

    Args:
        spec: The convolution.
        result: The array to compute.
        like: Its shape and dtype, without the axes of levels.
        levels: All `vmap`s.
        arrays: The other two arrays.
        platform: The platform that it is lowered for.

    Returns:
        The array, with the axes of its levels in front.
    """
    run = partial(evaluate, platform=platform)
    for i, level in enumerate(levels):
        if axes := _shared_axes(spec, level):
            return _folded(run, spec, result, like, levels, i, axes, arrays)
    if not levels:
        operands = (arrays[role] for role in ROLES if role != result)
        return platform.one(spec, result, like, *operands)
    level, *rest = levels
    shapes = {role: array.shape[num_axes(levels, role) :] for role, array in arrays.items()}
    chosen = platform.choose(spec, result, {**shapes, result: like.shape}, level.size)
    run = partial(evaluate, platform=platform._replace(one=chosen.one))
    mapped = {role: array for role, array in arrays.items() if level.has(role)}
    one = lambda mapped: run(spec, result, like, tuple(rest), {**arrays, **mapped})
    out = chosen.over(one, mapped)
    return out if level.has(result) else out.sum(0)


def _shared_axes(spec: ConvSpec, level: Level) -> dict[Role, int] | None:
    """The axis that both arrays of a level share, in each; None if the level cannot be merged."""
    lhs, rhs, out = spec.dimensions
    match sorted(level.roles):
        case ["g", "x"] if spec.batch_group_count == 1:
            return {"x": lhs[0], "g": out[0]}
        case ["g", "w"] if spec.grouping == (1, 1):
            return {"w": rhs[0], "g": out[1]}
        case ["w", "x"] if spec.grouping == (1, 1):
            return {"x": lhs[1], "w": rhs[1]}
    return None


def _folded(
    run: Callable,
    spec: ConvSpec,
    result: Role,
    like: jax.ShapeDtypeStruct,
    levels: Levels,
    place: int,
    axes: Mapping[Role, int],
    arrays: Arrays,
) -> jax.Array:
    """The result, with one level merged into an axis."""
    size, rest = levels[place].size, (*levels[:place], *levels[place + 1 :])
    ends = {r: (num_axes(levels[:place], r), num_axes(rest, r) + axis) for r, axis in axes.items()}
    merged = {r: _merge(a, *ends[r]) if r in axes else a for r, a in arrays.items()}
    if result not in axes:
        return run(spec, result, like, rest, merged)
    shape = list(like.shape)
    shape[axes[result]] *= size
    wide = jax.ShapeDtypeStruct(tuple(shape), like.dtype)
    return _split(run(spec, result, wide, rest, merged), *ends[result], size)


def _merge(x: jax.Array, source: int, target: int) -> jax.Array:
    """Removes the axis `source`, and merges it into the axis `target` of the rest."""
    x = jnp.moveaxis(x, source, target)
    return x.reshape(*x.shape[:target], -1, *x.shape[target + 2 :])


def _split(x: jax.Array, source: int, target: int, size: int) -> jax.Array:
    """The inverse of `_merge`."""
    x = x.reshape(*x.shape[:target], size, -1, *x.shape[target + 1 :])
    return jnp.moveaxis(x, target, source)
