"""The four kinds of node, and the interpreter behind all folds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, TypeVar, get_args

from jfractal.counts import check_counts
from jfractal.errors import InputError

__all__ = [
    "Expr",
    "How",
    "Identity",
    "Join",
    "Projection",
    "Seq",
    "Unit",
    "check_how",
    "evaluate",
]

Value = TypeVar("Value")
How = Literal["mean", "sum", "concat", "max", "convex"]
"""How a join combines its inputs; ``"convex"`` is a mean with learned weights."""


@dataclass(frozen=True)
class Unit:
    """One trainable layer. Units with the same name are one layer: their weights are tied.

    Attributes:
        name: Name of its parameters.
        column: The column it belongs to, counted from 1 (the shallowest), if the rule has columns.

    Raises:
        InputError: If `name` is not a non-empty string, or `column` is not an integer of at least
            1.
    """

    name: str
    column: int | None = None

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name:
            raise InputError(f"`name` of a Unit must be a string, not empty, got {self.name!r}")
        if self.column is not None:
            check_counts(column=self.column)


@dataclass(frozen=True)
class Projection(Unit):
    """A linear 1×1 unit that only changes the number of channels; it adds nothing to the depth.

    `project` adds projections where widths differ, so rules need not.
    """


@dataclass(frozen=True)
class Identity:
    """Passes its input on."""


@dataclass(frozen=True)
class Seq:
    """Parts in series, the first part first.

    Raises:
        InputError: If `parts` is not a tuple of expressions.
    """

    parts: tuple[Expr, ...]

    def __post_init__(self):
        _check_parts(self.parts)


@dataclass(frozen=True)
class Join:
    """Parts in parallel on one input, with their outputs joined.

    Joins that end at the same place merge: if a part itself ends in a join of the same kind, the
    inputs of that inner join become inputs of the outer one. All of them then meet in ONE flat join
    (a mean over k inputs, each with weight 1/k). To keep an inner join separate, put an `Identity`
    after it.

    Attributes:
        parts: The parts, shallowest first; at least one.
        how: ``mean`` (FractalNet), ``sum`` (residual), ``concat`` (dense), ``max``, or ``convex``:
            a mean with learned weights, which are above 0 and sum to 1.

    Raises:
        InputError: If there are no parts, `parts` is not a tuple of expressions, or `how` is
            unknown.
    """

    parts: tuple[Expr, ...]
    how: How = "mean"

    def __post_init__(self):
        _check_parts(self.parts)
        if not self.parts:
            raise InputError("`parts` of a Join must hold at least one expression, got none")
        check_how(self.how)


Expr = Unit | Identity | Seq | Join
"""An architecture: a node, with the nodes inside it."""


def check_how(how: Any) -> None:
    """Refuses what is not a kind of join."""
    if not isinstance(how, str) or how not in get_args(How):
        raise InputError(f"`how` must be one of {get_args(How)}, got {how!r}")


def _check_parts(parts: Any) -> None:
    members = parts if type(parts) is tuple else (parts,)
    wrong = [x for x in members if not isinstance(x, Expr) or type(parts) is not tuple]
    if wrong:
        raise InputError(
            f"`parts` must be a tuple of Unit, Identity, Seq and Join, got {wrong[0]!r}"
        )


def evaluate(
    expr: Expr,
    x: Value,
    *,
    unit: Callable[[Unit, Value], Value],
    join: Callable[[Join, list[Value]], Value],
) -> Value:
    """Runs an expression on `x`, for any meaning of a unit and of a join.

    Args:
        expr: The expression.
        x: Its input, of any type.
        unit: ``unit(node, x)``, called once for every application of a unit.
        join: ``join(node, inputs)``, called once for every flat join, inner joins first.

    Returns:
        The value at the end of the expression.

    Raises:
        InputError: If a part is not an expression.
    """
    for name, function in (("unit", unit), ("join", join)):
        if not callable(function):
            raise InputError(f"`{name}` must be a function, got {function!r}")

    def value(node: Expr, x: Value) -> Value:
        match node:
            case Unit():
                return unit(node, x)
            case Identity():
                return x
            case Seq(parts):
                return reduce(lambda x, part: value(part, x), parts, x)
            case Join(how=how):
                return join(node, ends(node, x, how))
            case _:
                raise InputError(
                    f"`expr` must be made of Unit, Identity, Seq and Join, got {node!r}"
                )

    def ends(node: Expr, x: Value, how: How) -> list[Value]:
        """The inputs that a part gives to a join: those of its own last join, if of that kind."""
        match node:
            case Join(parts, how=kind) if kind == how:
                return [end for part in parts for end in ends(part, x, how)]
            case Seq(parts) if parts:
                return ends(parts[-1], value(Seq(parts[:-1]), x), how)
            case _:
                return [value(node, x)]

    return value(expr, x)
