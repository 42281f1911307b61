"""Whether bfloat16 or float32 is faster for a net on this device."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn

from jfractal.arguments import check_functions
from jfractal.ops import half
from jfractal.ops.levels import num_axes
from jfractal.ops.lowering import ROLES
from jfractal.ops.memory import programs_within
from jfractal.ops.processor import processor
from jfractal.ops.trilinear import conv_p

__all__ = ["Precision", "faster_precision"]

# Conversions cost what products gain, unless these are most of the work: on matrix units a
# FractalNet of widths 16 to 128 (.4) was no faster, one of 32 to 128 behind a stem (.7) was.
MOST = 0.5


class Precision(NamedTuple):
    """A type to compute in.

    Attributes:
        dtype: Name of the type.
        reason: The reason, as a clause that follows "because".

    Example:
        >>> import jfractal as jf
        >>> jf.ops.Precision("float32", "the processor has no arithmetic for bfloat16").dtype
        'float32'
    """

    dtype: Literal["float32", "bfloat16"]
    reason: str


def faster_precision(function: Callable, *args: Any) -> Precision:
    """The type in which a function of a net runs faster, judged by its program without timing it.

    On an accelerator, this is bfloat16. On a CPU, it is bfloat16 if the processor has arithmetic
    for it and at least half of the multiplications use that, see `jfractal.ops.half`; otherwise, it
    is float32.

    Args:
        function: A traceable function with the net in bfloat16, e.g. the gradient of a loss.
        *args: Its arguments, or `jax.ShapeDtypeStruct`s instead.

    Returns:
        The type, and the reason.

    Example:
        >>> import jax, jax.numpy as jnp, jfractal as jf
        >>> x, w = (jax.ShapeDtypeStruct((8, 8), jnp.float32) for _ in range(2))
        >>> jf.ops.faster_precision(jnp.matmul, x, w).dtype in ("float32", "bfloat16")
        True
    """
    check_functions(function=function)
    if jax.default_backend() != "cpu":
        kind = jax.devices()[0].device_kind
        return Precision("bfloat16", f"an accelerator has units for it ({kind})")
    return _on_cpu(jax.make_jaxpr(function)(*args).jaxpr)


def _on_cpu(program: Jaxpr) -> Precision:
    total = reached = 0
    for equation in _convolutions(program):
        multiplications, is_reached = _work(equation)
        total += multiplications
        reached += multiplications * is_reached
    share = reached / max(total, 1)
    what = f"{100 * share:.0f} % of the multiplications reach the arithmetic that {processor()} has"
    return Precision("bfloat16" if share >= MOST else "float32", f"{what} for bfloat16")


def _convolutions(program: Jaxpr) -> Iterator[JaxprEqn]:
    """All convolutions and bfloat16 dense layers of a program, at any depth."""
    for equation in program.eqns:
        if equation.primitive is conv_p:
            yield equation
        for inner in programs_within(equation.params):
            yield from _convolutions(inner)


def _work(equation: JaxprEqn) -> tuple[int, bool]:
    """The number of multiplications of an equation, and whether they use bfloat16 arithmetic."""
    spec, result, levels = (equation.params[name] for name in ("spec", "result", "levels"))
    avals: list[Any] = [v.aval for v in equation.invars]
    roles = [role for role in ROLES if role != result]
    shapes = {role: a.shape[num_axes(levels, role) :] for role, a in zip(roles, avals)}
    shapes[result] = equation.params["like"].shape
    kernel = [n for axis, n in enumerate(shapes["w"]) if axis != spec.dimensions[1][0]]
    each = prod(shapes["g"]) * prod(kernel)
    is_half = {a.dtype for a in avals} == {jnp.dtype(jnp.bfloat16)}
    is_reached = is_half and half.choose(spec, result, shapes) is half.products
    return each * prod(level.size for level in levels), is_reached
