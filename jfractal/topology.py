"""Architectures as expressions: four kinds of node, rules that build them, folds that read them.

An expression says how units are wired and nothing else; there is no JAX in this file. A *rule*
is any function that returns an expression (`plain`, `fractal`, `residual`, `dense`,
`doubly_recursive`, or your own). A *fold* is `evaluate`
with its own idea of what a unit and a join do: to a number (`depth`, `num_paths`), to a polynomial
(`path_lengths`), to an expression (`restrict`, `project`), to feature maps (`jfractal.nn.Block`)
or to a drawing (`jfractal.viz.structure`).

Example:
    >>> block = fractal(columns=3)
    >>> depth(block), num_paths(block), len(units(block))
    (4, 5, 7)
    >>> units(restrict(block, column=2))
    ('column2_unit1', 'column2_unit2')
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate, count, groupby
from numbers import Integral
from typing import Literal, TypeVar, get_args

from jfractal.errors import InputError

__all__ = [
    "Expr",
    "How",
    "Identity",
    "Join",
    "Loop",
    "Projection",
    "Seq",
    "Unit",
    "channels",
    "columns",
    "dense",
    "depth",
    "doubly_recursive",
    "ends",
    "evaluate",
    "fractal",
    "join_channels",
    "join_kinds",
    "join_sizes",
    "num_paths",
    "path_lengths",
    "plain",
    "project",
    "receptive_field",
    "residual",
    "restrict",
    "roll",
    "siblings",
    "unit_channels",
    "unit_depths",
    "units",
]

Value = TypeVar("Value")
How = Literal["mean", "sum", "concat", "max", "convex"]


@dataclass(frozen=True)
class Unit:
    """One trainable layer. Units of equal name are one layer: their weights are tied.

    Attributes:
        name: Name of its parameters.
        column: The column it belongs to, counted from 1 (the shallowest), if the rule has columns.
    """

    name: str
    column: int | None = None


@dataclass(frozen=True)
class Projection(Unit):
    """A unit that changes the number of channels and nothing else (1×1, linear); of no length.

    `project` puts projections where widths demand them; rules need not.
    """


@dataclass(frozen=True)
class Identity:
    """Passes its input on."""


@dataclass(frozen=True)
class Seq:
    """Parts one after the other, the first part first."""

    parts: tuple[Expr, ...]


@dataclass(frozen=True)
class Loop(Seq):
    """A chain of parts that are alike but for the names of their units, see `roll`.

    To every fold it is the `Seq` that it is. What runs it may write the first part down once, and
    run it for all.
    """


@dataclass(frozen=True)
class Join:
    """Parts side by side on one input, their outputs joined.

    Ends that coincide merge: a part that itself ends in a join of the same kind hands that join's
    inputs over, so that all of them meet in ONE flat join (a mean over k inputs, each weighing
    1/k). To keep an inner join apart, let an `Identity` follow it.

    Attributes:
        parts: The parts, shallowest first; at least one.
        how: ``mean`` (FractalNet), ``sum`` (residual), ``concat`` (dense), ``max``, or ``convex``:
            a mean whose weights, above 0 and of sum 1, are learned.

    Raises:
        InputError: If there are no parts, or `how` is none of these.
    """

    parts: tuple[Expr, ...]
    how: How = "mean"

    def __post_init__(self):
        if not self.parts:
            raise InputError("`parts` of a Join must hold at least one expression, got none")
        if self.how not in get_args(How):
            raise InputError(f"`how` must be one of {get_args(How)}, got {self.how!r}")


Expr = Unit | Identity | Seq | Join


# Rules


def _at_least_one(**counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, Integral) or value < 1:
            raise InputError(f"`{name}` must be a whole number of at least 1, got {value!r}")


def plain(num_units: int) -> Expr:
    """A chain of units: ``u_n ∘ … ∘ u_1``."""
    _at_least_one(num_units=num_units)
    return Seq(tuple(Unit(f"unit{i}") for i in range(1, num_units + 1)))


def fractal(columns: int, *, how: How = "mean", nested: bool = False) -> Expr:
    """FractalNet's expansion rule.

    ``f_1 = unit``, ``f_{C+1}(x) = join[unit(x), (f_C ∘ f_C)(x)]``: 2^C − 1 units, of which column
    c holds the 2^(c−1) named ``column{c}_unit{k}``; column 1 is the shallowest.

    Args:
        columns: Number of columns C.
        how: Kind of the joins.
        nested: Whether joins that end at one place stay apart, as the formula has it literally: a
            mean of two at every level, which halves the weight of a path with every join it
            passes, where the flat join of the paper's figure and code weighs its inputs equally.
            A path is (C + 1)/2 units long in the mean, against (2^C − 1)/C.

    Raises:
        InputError: If `columns` is smaller than 1.

    Source: Larsson, Maire & Shakhnarovich, "FractalNet", ICLR 2017, eq. 1 and figure 1.
    """
    _at_least_one(columns=columns)
    count: Counter[int] = Counter()

    def unit(column: int) -> Unit:
        count[column] += 1
        return Unit(f"column{column}_unit{count[column]}", column)

    def grow(column: int) -> Expr:
        if column == columns:
            return unit(column)
        return Join((unit(column), Seq((grow(column + 1), grow(column + 1), *fence))), how)

    fence = (Identity(),) if nested else ()
    return grow(1)


def doubly_recursive(levels: int, *, tied: bool = False, how: How = "mean") -> Expr:
    """The expansion rule that recurs on both sides of the join.

    ``G_1 = unit``, ``G_n(x) = join[R(x), L₂(L₁(x))]`` with R, L₁, L₂ each a G_{n−1}: 3^(n−1)
    applications of a unit. Untied they are as many units; tied, L₁ and L₂ are one function and
    2^(n−1) units are left. With ``how="concat"`` it is the block of tutorials,
    ``F_n = concat(F_{n−1}(F_{n−1}(x)), F_{n−1}(x))``. It has no columns, and is not FractalNet,
    whose R is a single unit.

    Args:
        levels: Number of levels n.
        tied: Whether L₁ and L₂ share their weights.
        how: Kind of the joins.

    Raises:
        InputError: If `levels` is smaller than 1.
    """
    _at_least_one(levels=levels)

    def grow(level: int, name: str) -> Expr:
        if level == 1:
            return Unit(f"unit{name}")
        first, second = ("l", "l") if tied else ("l1", "l2")
        left = Seq((grow(level - 1, name + first), grow(level - 1, name + second)))
        return Join((grow(level - 1, name + "r"), left), how)

    return grow(levels, "")


def dense(num_units: int) -> Expr:
    """A dense block: every unit reads what all units before it wrote, and the input.

    ``x_{i+1} = concat[x_i, u_i(x_i)]``: m input channels end as m + n·growth, where the growth is
    what one unit emits.

    Source: Huang, Liu, van der Maaten & Weinberger, "Densely connected convolutional networks",
    CVPR 2017, eq. 2.
    """
    _at_least_one(num_units=num_units)
    return Seq(
        tuple(Join((Identity(), Unit(f"unit{i}")), "concat") for i in range(1, num_units + 1))
    )


def residual(num_blocks: int, *, units_per_block: int = 2) -> Expr:
    """A chain of residual blocks: ``x + (u_k ∘ … ∘ u_1)(x)``.

    Source: He, Zhang, Ren & Sun, "Deep residual learning", CVPR 2016, eq. 1.
    """
    _at_least_one(num_blocks=num_blocks, units_per_block=units_per_block)

    def block(i: int) -> Expr:
        chain = tuple(Unit(f"block{i}_unit{k}") for k in range(1, units_per_block + 1))
        return Join((Seq(chain), Identity()), "sum")

    return Seq(tuple(block(i) for i in range(1, num_blocks + 1)))


# The one interpreter


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
    (value,) = ends(expr, x, None, unit=unit, join=join)
    return value


def ends(
    expr: Expr,
    x: Value,
    how: How | None,
    *,
    unit: Callable[[Unit, Value], Value],
    join: Callable[[Join, list[Value]], Value],
    loop: Callable[[Loop, Value, How | None], list[Value]] | None = None,
) -> list[Value]:
    """What an expression hands over to a join of a kind that stands behind it.

    Those are the inputs of its own last join, if that is of the same kind; else its one value.

    Args:
        expr: The expression.
        x: Its input, of any type.
        how: Kind of the join; None if there is none.
        unit: As for `evaluate`.
        join: As for `evaluate`.
        loop: ``loop(node, x, how)``, the ends of a `Loop`; as of any chain if left out.
    """

    def value(node: Expr, x: Value) -> Value:
        match node:
            case Unit():
                return unit(node, x)
            case Identity():
                return x
            case Loop() if loop is not None:
                return loop(node, x, None)[0]
            case Seq(parts):
                return reduce(lambda x, part: value(part, x), parts, x)
            case Join(how=how):
                return join(node, values(node, x, how))
            case _:
                raise InputError(
                    f"an expression is made of Unit, Identity, Seq and Join, got {node!r}"
                )

    def values(node: Expr, x: Value, how: How | None) -> list[Value]:
        match node:
            case Join(parts, how=kind) if kind == how:
                return [end for part in parts for end in values(part, x, how)]
            case Loop() if loop is not None:
                return loop(node, x, how)
            case Seq(parts) if parts:
                return values(parts[-1], value(Seq(parts[:-1]), x), how)
            case _:
                return [value(node, x)]

    return values(expr, x, how)


# Folds


def depth(expr: Expr) -> int:
    """Units on the longest path; 2^(C−1) for ``fractal(C)``."""
    return evaluate(expr, 0, unit=lambda node, n: n + _length(node), join=lambda _, ns: max(ns))


def _length(node: Unit) -> int:
    return 0 if isinstance(node, Projection) else 1


def unit_depths(expr: Expr) -> dict[str, int]:
    """How deep each unit stands: units on the longest path from the input up to and with it."""
    depths: dict[str, int] = {}

    def unit(node: Unit, n: int) -> int:
        depths[node.name] = max(depths.get(node.name, 0), n + _length(node))
        return n + _length(node)

    evaluate(expr, 0, unit=unit, join=lambda _, ns: max(ns))
    return depths


def siblings(expr: Expr) -> dict[str, tuple[str, ...]]:
    """By its name, the units that read the same value as a unit, itself among them.

    Of a fractal block, all columns that begin at one place. Tied units and projections are left out.
    """
    uses = Counter(node.name for node in _applications(expr))
    readers: dict[int, list[str]] = {}
    places = count(1)

    def unit(node: Unit, place: int) -> int:
        if uses[node.name] == 1 and not isinstance(node, Projection):
            readers.setdefault(place, []).append(node.name)
        return next(places)

    evaluate(expr, 0, unit=unit, join=lambda *_: next(places))
    return {name: tuple(names) for names in readers.values() for name in names}


def num_paths(expr: Expr) -> int:
    """Paths from input to output; P_1 = 1, P_{C+1} = P_C² + 1 for ``fractal(C)``."""
    return evaluate(expr, 1, unit=lambda _, n: n, join=lambda _, ns: sum(ns))


def path_lengths(expr: Expr) -> dict[int, int]:
    """How many paths there are of each length, ``{units on the path: paths}``."""
    spectrum = evaluate(
        expr,
        Counter({0: 1}),
        unit=lambda node, paths: Counter({k + _length(node): n for k, n in paths.items()}),
        join=lambda _, inputs: sum(inputs, Counter()),
    )
    return dict(sorted(spectrum.items()))


def receptive_field(expr: Expr, *, kernel_size: int = 3) -> int:
    """Input pixels along one axis that one output pixel sees, at stride 1: 1 + (k − 1)·depth."""
    return 1 + (kernel_size - 1) * depth(expr)


def join_sizes(expr: Expr) -> tuple[int, ...]:
    """Number of inputs of every join, in the order of evaluation."""
    sizes: list[int] = []
    evaluate(expr, None, unit=lambda _, x: x, join=lambda _, xs: sizes.append(len(xs)))
    return tuple(sizes)


def join_kinds(expr: Expr) -> tuple[How, ...]:
    """Kind of every join, in the order of evaluation."""
    kinds: list[How] = []
    evaluate(expr, None, unit=lambda _, x: x, join=lambda node, _: kinds.append(node.how))
    return tuple(kinds)


def _applications(expr: Expr) -> list[Unit]:
    nodes: list[Unit] = []
    evaluate(expr, None, unit=lambda node, _: nodes.append(node), join=lambda _, xs: None)
    return nodes


def units(expr: Expr) -> tuple[str, ...]:
    """Names of the distinct units, in the order of evaluation.

    Raises:
        InputError: If two units of one name are not equal: a name stands for one layer.
    """
    found: dict[str, Unit] = {}
    for node in _applications(expr):
        if found.setdefault(node.name, node) != node:
            raise InputError(
                f"units of equal name are one layer, but {found[node.name]} and {node} differ"
            )
    return tuple(found)


def columns(expr: Expr) -> tuple[int, ...]:
    """The columns that occur, ascending."""
    return tuple(sorted({node.column for node in _applications(expr) if node.column is not None}))


def unit_channels(
    expr: Expr, in_channels: int, out_channels: int, *, column: int | None = None
) -> list[tuple[Unit, int]]:
    """Input channels of every application of a unit, where each unit emits `out_channels`.

    This is what parameter and FLOP counts need.

    Args:
        expr: The expression.
        in_channels: Channels of its input.
        out_channels: Channels that every unit emits.
        column: List what runs for this column alone; a ``concat`` keeps the places of the others.

    Returns:
        Pairs (unit, input channels) in the order of evaluation, tied units repeated.
    """
    found: list[tuple[Unit, int]] = []

    def unit(node: Unit, value: tuple[int, bool]) -> tuple[int, bool]:
        channels, is_live = value
        is_live = is_live and (column is None or node.column in (None, column))
        if is_live:
            found.append((node, channels))
        return out_channels, is_live

    def join(node: Join, inputs: list[tuple[int, bool]]) -> tuple[int, bool]:
        channels, live = zip(*inputs)
        return join_channels(node, channels, out_channels), any(live)

    evaluate(expr, (in_channels, True), unit=unit, join=join)
    return found


def channels(expr: Expr, in_channels: int, out_channels: int) -> int:
    """Channels at the end of an expression, where each unit emits `out_channels`."""
    return evaluate(
        expr,
        in_channels,
        unit=lambda *_: out_channels,
        join=lambda node, inputs: join_channels(node, inputs, out_channels),
    )


def join_channels(join: Join, inputs: Sequence[int], out_channels: int) -> int:
    """Channels after a join of inputs of these channels.

    ``concat`` adds them up; the other joins keep them or, where they differ, emit `out_channels`
    (see `project`).
    """
    if join.how == "concat":
        return sum(inputs)
    return inputs[0] if len(set(inputs)) == 1 else out_channels


# From expression to expression


def project(expr: Expr, in_channels: int, out_channels: int) -> Expr:
    """The expression with a `Projection` to `out_channels` wherever widths demand one.

    That is before a join (other than ``concat``) of inputs of different widths, and before a tied
    unit that is applied to inputs of different widths; on those that are not `out_channels` wide.
    An expression whose widths agree, such as a fractal or a plain one, stays as it is.

    Args:
        expr: The expression.
        in_channels: Channels of its input.
        out_channels: Channels that every unit emits.
    """
    widths: dict[str, set[int]] = {}
    for node, channels in unit_channels(expr, in_channels, out_channels):
        widths.setdefault(node.name, set()).add(channels)
    count: Counter[str] = Counter()

    def fit(x: Expr, channels: int, name: str) -> Expr:
        return x if channels == out_channels else _chain(x, Projection(name))

    def unit(node: Unit, value: tuple[Expr, int]) -> tuple[Expr, int]:
        x, channels = value
        count[node.name] += 1
        if len(widths[node.name]) > 1:
            x = fit(x, channels, f"{node.name}_project{count[node.name]}")
        return _chain(x, node), out_channels

    def join(node: Join, inputs: list[tuple[Expr, int]]) -> tuple[Expr, int]:
        ends, channels = [x for x, _ in inputs], [n for _, n in inputs]
        count["join"] += 1
        if node.how != "concat" and len(set(channels)) > 1:
            names = [f"join{count['join']}_project{k}" for k in range(1, len(ends) + 1)]
            ends = [fit(x, n, name) for x, n, name in zip(ends, channels, names)]
        return _factor(ends, node.how), join_channels(node, channels, out_channels)

    fitted, _ = evaluate(expr, (Identity(), in_channels), unit=unit, join=join)
    is_changed = any(isinstance(node, Projection) for node in _applications(fitted))
    return fitted if is_changed else expr


def roll(expr: Expr, in_channels: int, out_channels: int) -> Expr:
    """The expression with a `Loop` wherever parts of a chain differ by the names of units only.

    Such parts read inputs of equal width, and none of their units is used anywhere else. Of
    ``fractal(C)``, whose 2^C − 1 units are 2^(C−1) long, C(C + 1)/2 units are left to write down,
    or C if the block keeps the number of channels.

    Args:
        expr: The expression.
        in_channels: Channels of its input.
        out_channels: Channels that every unit emits.
    """
    uses = Counter(node.name for node in _applications(expr))

    def alike(part: Expr) -> Expr | None:
        """The part with its units numbered; None if one of them is tied."""
        names = units(part)
        if any(uses[name] > 1 for name in names):
            return None
        return _renamed(part, {name: f"unit{i}" for i, name in enumerate(names)})

    def rolled(node: Expr, n: int) -> Expr:
        match node:
            case Join(parts, how):
                return Join(tuple(rolled(part, n) for part in parts), how)
            case Seq(parts):
                inputs = accumulate(
                    parts, lambda n, part: channels(part, n, out_channels), initial=n
                )
                keyed = [
                    (rolled(part, n), (n, alike(part), i if alike(part) is None else 0))
                    for i, (part, n) in enumerate(zip(parts, inputs))
                ]
                groups = groupby(keyed, key=lambda pair: pair[1])
                chains = [[part for part, _ in group] for _, group in groups]
                runs = [Loop(tuple(chain)) if len(chain) > 1 else chain[0] for chain in chains]
                return runs[0] if len(runs) == 1 else Seq(tuple(runs))
            case _:
                return node

    return rolled(expr, in_channels)


def _renamed(expr: Expr, names: dict[str, str]) -> Expr:
    match expr:
        case Unit():
            return replace(expr, name=names[expr.name])
        case Seq(parts) | Join(parts):
            return replace(expr, parts=tuple(_renamed(part, names) for part in parts))
        case _:
            return expr


def restrict(
    expr: Expr, *, column: int | None = None, alive: Sequence[Sequence[bool]] | None = None
) -> Expr:
    """The sub-architecture that is left when a column is kept alone, or join inputs are dropped.

    Args:
        expr: The expression.
        column: Keep only the units of this column (and those that belong to none).
        alive: For every join, in the order of `join_sizes`, which of its inputs are alive.

    Returns:
        An expression over a subset of the units. A join with one input left disappears.

    Raises:
        InputError: If nothing is left, or `alive` does not fit the joins.
    """
    if column is not None and column not in columns(expr):
        raise InputError(f"`column` must be one of {columns(expr)}, got {column}")
    if alive is not None and tuple(map(len, alive)) != join_sizes(expr):
        raise InputError(f"`alive` must hold one flag for each join input {join_sizes(expr)}")
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
    """Joins ends, each a chain from the common input; what they share at the start is kept once."""

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
