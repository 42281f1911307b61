"""Rewriting of expressions: adding projections, removing parts."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from jfractal.errors import InputError
from jfractal.topology.expression import (
    Expr,
    How,
    Identity,
    Join,
    Projection,
    Seq,
    Unit,
    evaluate,
)
from jfractal.topology.folds import (
    applications,
    check_column,
    join_channels,
    join_sizes,
    unit_channels,
)

__all__ = ["project", "restrict"]


def project(expr: Expr, in_channels: int, out_channels: int) -> Expr:
    """The expression with a `Projection` to `out_channels` wherever widths differ.

    Widths differ at a join (other than ``concat``) of inputs with different widths, and at a tied
    unit that is applied to inputs with different widths. A projection is added to the inputs that
    are not `out_channels` wide. An expression whose widths agree, such as a fractal or a plain one,
    stays as it is.

    Args:
        expr: The expression.
        in_channels: Channels of its input.
        out_channels: Channels that every unit emits.

    Returns:
        The expression with its projections.
    """
    widths: dict[str, set[int]] = {}
    for node, width in unit_channels(expr, in_channels, out_channels):
        widths.setdefault(node.name, set()).add(width)
    count: Counter[str] = Counter()

    def fit(x: Expr, width: int, name: str) -> Expr:
        return x if width == out_channels else _chain(x, Projection(name))

    def unit(node: Unit, value: tuple[Expr, int]) -> tuple[Expr, int]:
        x, width = value
        count[node.name] += 1
        if len(widths[node.name]) > 1:
            x = fit(x, width, f"{node.name}_project{count[node.name]}")
        return _chain(x, node), out_channels

    def join(node: Join, inputs: list[tuple[Expr, int]]) -> tuple[Expr, int]:
        ends, sizes = [x for x, _ in inputs], [n for _, n in inputs]
        count["join"] += 1
        if node.how != "concat" and len(set(sizes)) > 1:
            names = [f"join{count['join']}_project{k}" for k in range(1, len(ends) + 1)]
            ends = [fit(x, n, name) for x, n, name in zip(ends, sizes, names)]
        return _factor(ends, node.how), join_channels(node, sizes, out_channels)

    fitted, _ = evaluate(expr, (Identity(), in_channels), unit=unit, join=join)
    is_changed = any(isinstance(node, Projection) for node in applications(fitted))
    return fitted if is_changed else expr


def restrict(
    expr: Expr, *, column: int | None = None, alive: Sequence[Sequence[bool]] | None = None
) -> Expr:
    """The sub-architecture that remains if only one column is kept, or join inputs are dropped.

    Args:
        expr: The expression.
        column: Keep only the units of this column, and units that belong to no column.
        alive: Flags of the live inputs of every join, in the order of `join_sizes`.

    Returns:
        An expression over a subset of the units. A join with one input left disappears.

    Raises:
        InputError: If nothing is left, or `alive` does not fit the joins.
    """
    if column is not None:
        check_column(expr, column)
    if alive is not None and not _fits(alive, join_sizes(expr)):
        raise InputError(
            f"`alive` must hold one flag for each join input {join_sizes(expr)}, got {alive!r}"
        )
    masks = iter(alive) if alive is not None else None

    # Evaluation in the domain of expressions; None stands for a dead path.
    def unit(node: Unit, x: Expr | None) -> Expr | None:
        if x is None or (column is not None and node.column not in (None, column)):
            return None
        return _chain(x, node)

    def join(node: Join, inputs: list[Expr | None]) -> Expr | None:
        mask = next(masks) if masks is not None else [True] * len(inputs)
        left = [x for x, flag in zip(inputs, mask, strict=True) if flag and x is not None]
        return _factor(left, node.how) if left else None

    rest = evaluate(expr, Identity(), unit=unit, join=join)
    if rest is None:
        raise InputError("no path from input to output is left")
    return rest


def _fits(alive: Any, sizes: tuple[int, ...]) -> bool:
    """Whether there is a boolean for each input of each join."""
    try:
        masks = [[bool(flag) == flag for flag in mask] for mask in alive]
    except (TypeError, ValueError):  # not sequences, or not of single flags
        return False
    return tuple(map(len, masks)) == sizes and all(all(mask) for mask in masks)


def _parts(expr: Expr) -> tuple[Expr, ...]:
    match expr:
        case Identity():
            return ()
        case Seq(parts):
            return parts
        case _:
            return (expr,)


def _chain(*exprs: Expr) -> Expr:
    parts = tuple(part for expr in exprs for part in _parts(expr))
    return parts[0] if len(parts) == 1 else Seq(parts) if parts else Identity()


def _factor(ends: list[Expr], how: How) -> Expr:
    """Joins ends, each a chain from the common input, and keeps their common start only once."""

    def first(end: Expr) -> Expr | None:
        return next(iter(_parts(end)), None)

    def apart(end: Expr) -> Expr:
        match _parts(end):
            case (*_, Join(how=kind)) as parts if kind == how:
                return Seq((*parts, Identity()))
        return end

    if len(ends) == 1:
        return ends[0]
    groups = [(head, list(group)) for head, group in groupby(ends, key=first)]
    if len(groups) == 1 and groups[0][0] is not None:
        return _chain(groups[0][0], _factor([_chain(*_parts(end)[1:]) for end in ends], how))
    parts: list[Expr] = []
    for head, group in groups:
        is_shared = len(group) > 1 and head is not None
        parts += [_factor(group, how)] if is_shared else map(apart, group)
    return Join(tuple(parts), how)
