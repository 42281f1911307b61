"""The layout of a picture of an expression: lanes side by side, levels downwards.

`topology.evaluate` folds an expression into a *trace*: the boxes, and forks of parallel branches,
on the way from the input. `layout` gives every branch of a fork its own lane, and the height that
the longest branch needs. One unit is one lane wide and one level high.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, takewhile
from math import inf
from typing import NamedTuple

from jfractal import topology
from jfractal.topology import Expr, Join, Unit

__all__ = ["Bar", "Box", "Layout", "Span", "Wire", "layout"]

JOIN_HEIGHT = 0.6


class Box(NamedTuple):
    """One application of a unit, by its centre."""

    unit: Unit
    x: float
    y: float
    is_live: bool


class Span(NamedTuple):
    """The start of a wire: a point, or a horizontal bar from `left` to `right`."""

    left: float
    right: float
    y: float
    is_live: bool = True

    @property
    def middle(self) -> float:
        """The centre, where a lone wire leaves."""
        return (self.left + self.right) / 2

    def nearest(self, x: float) -> float:
        """The point of the span nearest to `x`."""
        return min(max(x, self.left), self.right)


class Bar(NamedTuple):
    """A join, drawn over all of its inputs."""

    join: Join
    span: Span


class Wire(NamedTuple):
    """A polyline."""

    points: tuple[tuple[float, float], ...]
    is_live: bool


@dataclass
class Layout:
    """A picture in lanes (x) and levels (y, downwards); wires run to and from centres.

    Parts that are not live pass nothing on to the output.

    Attributes:
        height: Number of levels from the input to the output.
        source: The input, at y = 0.
        sink: The output, at y = `height`.
        boxes: All applications of units.
        bars: All joins, in the order of `topology.join_sizes`.
        wires: All wires. Each leads downwards from a box, a bar or the input to a box, a bar or the
            output, or to the start of the straight wire that continues it.
    """

    height: float
    source: Span
    sink: Span
    boxes: list[Box] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)

    @property
    def lanes(self) -> tuple[float, float]:
        """The outermost lanes in use."""
        xs = [x for wire in self.wires for x, _ in wire.points]
        return min(xs), max(xs)


def layout(
    expr: Expr, *, column: int | None = None, alive: Sequence[Sequence[bool]] | None = None
) -> Layout:
    """Places every unit and every join of an expression.

    Each branch of a fork has its own lanes, so nothing overlaps. The units of a column are placed
    in the lane of that column, or further right if that lane is taken. A unit is placed in the
    middle of the span that it bridges.

    Args:
        expr: The expression.
        column: The only live column, as for `topology.restrict`. By default, all are live.
        alive: Flags of the live inputs of each join, as for `topology.restrict`.

    Raises:
        InputError: As for `topology.units` and `topology.restrict`.
    """
    topology.units(expr)  # complains if a name stands for two layers
    topology.restrict(expr, column=column, alive=alive)  # complains if nothing is left
    masks = iter(alive) if alive is not None else None

    def unit(node: Unit, x: _Trace) -> _Trace:
        return (*x, _Step(node, column is None or node.column in (None, column)))

    def join(node: Join, inputs: Sequence[_Trace]) -> _Trace:
        if masks is not None:
            inputs = [x if flag else (*x, _Cut()) for x, flag in zip(inputs, next(masks))]
        n = _shared(inputs)
        return (*inputs[0][:n], _Fork(_branches([x[n:] for x in inputs]), node))

    trace = topology.evaluate(expr, (), unit=unit, join=join)
    height = max(_height(trace), 1.0)
    picture = Layout(height, source=Span(-inf, inf, 0.0), sink=Span(0.0, 0.0, height))
    lanes = {column: lane for lane, column in enumerate(topology.columns(expr))}
    _Placing(picture, lanes).run(trace)
    return picture


# From an expression to a trace


@dataclass(frozen=True, eq=False)
class _Step:
    """One application of a unit; two applications of the same unit are not equal."""

    unit: Unit
    is_live: bool


@dataclass(frozen=True, eq=False)
class _Cut:
    """The point at which a path is dropped: nothing is drawn, and the path before it is dead."""


@dataclass(frozen=True, eq=False)
class _Fork:
    """Branches side by side; without a join, their ends are inputs of the enclosing join."""

    branches: tuple[_Trace, ...]
    join: Join | None


_Item = _Step | _Cut | _Fork
_Trace = tuple[_Item, ...]


def _branches(ends: Sequence[_Trace]) -> tuple[_Trace, ...]:
    """Branches of a flat join; inputs that start together become one branch, which forks later."""
    branches: list[_Trace] = []
    for head, group in groupby(ends, key=lambda end: end[0] if end else None):
        together = list(group)
        if head is None or len(together) == 1:
            branches += together
        else:
            branches.append((head, _Fork(_branches([end[1:] for end in together]), join=None)))
    return tuple(branches)


def _shared(traces: Sequence[_Trace]) -> int:
    return sum(1 for _ in takewhile(lambda steps: len(set(steps)) == 1, zip(*traces)))


def _height(trace: _Trace) -> float:
    return sum(_item_height(item) for item in trace)


def _item_height(item: _Item) -> float:
    match item:
        case _Step():
            return 1.0
        case _Cut():
            return 0.0
        case _Fork(branches, join):
            return max(map(_height, branches)) + (JOIN_HEIGHT if join else 0.0)


def _is_live(trace: _Trace) -> bool:
    return all(map(_is_item_live, trace))


def _is_item_live(item: _Item) -> bool:
    match item:
        case _Step(_, is_live):
            return is_live
        case _Cut():
            return False
        case _Fork(branches):
            return any(map(_is_live, branches))


# From a trace to a picture


@dataclass
class _Placing:
    picture: Layout
    lanes: dict[int, int]  # of the columns

    def run(self, trace: _Trace):
        picture = self.picture
        # Every lane is below the input at first; how wide it has to be is known afterwards.
        (end,), _ = self.chain(trace, picture.source, left=0.0, top=0.0, bottom=picture.height)
        picture.sink = end._replace(y=picture.height)
        self.wire(Span(end.middle, end.middle, end.y), picture.height)
        starts = {wire.points[0]: wire.is_live for wire in picture.wires if wire.points[0][1] == 0}
        xs = [x for x, _ in starts]
        picture.source = Span(min(xs), max(xs), 0.0)
        middle = (picture.source.middle, 0.0)
        picture.wires += [Wire((middle, start), live) for start, live in starts.items()]

    def chain(
        self, trace: _Trace, source: Span, *, left: float, top: float, bottom: float
    ) -> tuple[list[Span], float]:
        """Places a trace; returns its ends and the first free lane to its right.

        Everything that is placed on a path from the source is live if the source is.
        """
        source = source._replace(is_live=source.is_live and _is_live(trace))
        if not _height(trace):
            return [self.tap(source, left, top)], left + 1.0
        ends, right = [source], left + 1.0
        stretch = (bottom - top) / _height(trace)
        for item in trace:
            bottom = top + stretch * _item_height(item)
            match item:
                case _Step(unit):
                    ends, edge = self.box(unit, ends[0], left, top, bottom)
                case _Fork():
                    ends, edge = self.fork(item, ends[0], left, top, bottom)
                case _Cut():
                    edge = left
            top, right = bottom, max(right, edge)
        return ends, right

    def box(
        self, unit: Unit, source: Span, left: float, top: float, bottom: float
    ) -> tuple[list[Span], float]:
        lane = 0 if unit.column is None else self.lanes[unit.column]
        x, y = max(left, lane), (top + bottom) / 2
        self.wire(self.tap(source, x, top), y)
        self.picture.boxes.append(Box(unit, x, y, source.is_live))
        return [Span(x, x, y, source.is_live)], x + 1.0

    def fork(
        self, fork: _Fork, source: Span, left: float, top: float, bottom: float
    ) -> tuple[list[Span], float]:
        ends: list[Span] = []
        right, floor = left, bottom
        if fork.join:
            floor -= JOIN_HEIGHT * (bottom - top) / _item_height(fork)
        for branch in fork.branches:
            found, right = self.chain(branch, source, left=right, top=top, bottom=floor)
            ends += found
        if fork.join is None:
            return ends, right
        y = (floor + bottom) / 2
        for end in ends:
            self.wire(end, y)
        sides = min(end.left for end in ends), max(end.right for end in ends)
        span = Span(*sides, y, source.is_live)
        self.picture.bars.append(Bar(fork.join, span))
        return [span], right

    def tap(self, source: Span, x: float, y: float) -> Span:
        """A point in lane `x` that is connected to the source, by a bend at `y` if needed."""
        start = source.nearest(x)
        if start == x:
            return source._replace(left=x, right=x)
        self.picture.wires.append(Wire(((start, source.y), (start, y), (x, y)), source.is_live))
        return Span(x, x, y, source.is_live)

    def wire(self, start: Span, y: float) -> None:
        points = (start.left, start.y), (start.left, y)
        self.picture.wires.append(Wire(points, start.is_live))
