"""The convolution as one JAX primitive that is closed under every transformation.

The form ``T(x, w, g) = ⟨conv(x, w), g⟩`` is linear in input, kernel and cotangent. The primitive is
the derivative of T by one of the three, the *result*, as a function of the other two: the
convolution itself (``g``), its gradient by the input (``x``), or by the kernel (``w``). Each is
bilinear, and its transpose in either operand is another of the three. Derivatives of every order
and mode therefore stay within the family, and `vmap` adds a level to a static tuple. What to
compile is decided when a program is lowered, by platform and shape, see `jfractal.ops.levels`,
`jfractal.ops.candidates` and `jfractal.ops.lowering`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jfractal.errors import InputError
from jfractal.ops.candidates import ACCELERATOR, CPU, Platform
from jfractal.ops.levels import Level, Levels, evaluate, num_axes
from jfractal.ops.lowering import ROLES, ConvSpec, Role, direct, varying_alike

__all__ = ["convolve", "lower_on"]

conv_p = Primitive("jfractal_conv")


def convolve(spec: ConvSpec, x: jax.Array, w: jax.Array) -> jax.Array:
    """The convolution of `x` with the kernel `w`."""
    try:
        out = jax.eval_shape(partial(direct, spec), *map(_struct, (x, w)))
    except (TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"`lhs` of shape {x.shape} and `rhs` of shape {w.shape} cannot be convolved with "
            f"`feature_group_count` {spec.feature_group_count} and `batch_group_count` "
            f"{spec.batch_group_count}: {reason}"
        ) from error
    return _bind({"x": x, "w": w}, spec, "g", _struct(out), ())


def _struct(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _operands(result: Role) -> tuple[Role, Role]:
    first, second = (role for role in ROLES if role != result)
    return first, second


def _bind(
    arrays: dict[Role, Any],
    spec: ConvSpec,
    result: Role,
    like: jax.ShapeDtypeStruct,
    levels: Levels,
) -> jax.Array:
    operands = varying_alike(*(arrays[role] for role in _operands(result)))
    return conv_p.bind(*operands, spec=spec, result=result, like=like, levels=levels)  # pyright: ignore


@conv_p.def_abstract_eval
def _abstract(a, b, *, spec, result, like, levels):
    for operand in (a, b):
        if any(axis is not None for axis in operand.sharding.spec):
            raise InputError(
                "a convolution cannot follow axes of a mesh that are `AxisType.Explicit`: make "
                "them `AxisType.Auto`, or call it within `jax.sharding.auto_axes`, got an array "
                f"{operand.str_short()}"
            )
    lead = tuple(level.size for level in levels if level.has(result))
    shape = (*lead, *like.shape)
    sharding = a.sharding.update(spec=jax.sharding.PartitionSpec(*(None,) * len(shape)))
    return a.update(shape=shape, dtype=like.dtype, weak_type=False, sharding=sharding)


@partial(jax.jit, static_argnames=("spec", "result", "like", "levels"))
def _compiled(a, b, **params):
    return conv_p.bind(a, b, **params)


conv_p.def_impl(_compiled)


# Derivatives


def _transpose(place: int, cotangent, a, b, *, spec, result, like, levels):
    """The cotangent of one operand, from the cotangent of the result and the other operand."""
    wanted, other = _operands(result)[place], _operands(result)[1 - place]
    aval = (a, b)[place].aval
    shape = aval.shape[num_axes(levels, wanted) :]
    arrays = {result: cotangent, other: (a, b)[1 - place]}
    return _bind(arrays, spec, wanted, jax.ShapeDtypeStruct(shape, aval.dtype), levels)


ad.defbilinear(conv_p, partial(_transpose, 0), partial(_transpose, 1))


# Batching


def _batch(operands, axes, *, spec, result, like, levels):
    size = next(x.shape[axis] for x, axis in zip(operands, axes) if axis is not None)
    roles = _operands(result)
    arrays: dict[Role, Any] = {
        role: x if axis is None else jnp.moveaxis(x, axis, 0)
        for role, x, axis in zip(roles, operands, axes)
    }
    has = {role: axis is not None for role, axis in zip(roles, axes)} | {result: True}
    levels = (Level(size, **has), *levels)
    return _bind(arrays, spec, result, like, levels), 0


batching.primitive_batchers[conv_p] = _batch


# Lowering


def lower_on(name: str | None, platform: Platform) -> None:
    """Sets what convolutions are compiled to on a platform.

    Args:
        name: Name of a JAX platform, e.g. ``cuda``; None for all platforms that are not named.
        platform: The choices, e.g. ``ACCELERATOR._replace(choose=lambda *_: GROUPED)`` to measure
            the cost of grouped convolutions. Programs that are compiled already do not change; to
            compile them again, call `jax.clear_caches()`.
    """

    def lower(a, b, *, spec, result, like, levels):
        arrays = dict(zip(_operands(result), (a, b)))
        return evaluate(spec, result, like, levels, arrays, platform)

    rule = mlir.lower_fun(lower, multiple_results=False)
    mlir.register_lowering(conv_p, rule, platform=name, inline=False)


lower_on("cpu", CPU)
lower_on(None, ACCELERATOR)
