from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jfractal import topology
from jfractal.errors import InputError
from jfractal.topology import Identity, Join, Projection, Seq, Unit, fractal
from jfractal.viz.layout import layout

# A name is one layer, so it stands in one column.
leaves = st.just(Identity()) | st.builds(
    lambda name, column: Unit(f"{name}{column or ''}", column),
    st.sampled_from("uvw"),
    st.none() | st.integers(1, 3),
)
expressions = st.recursive(
    leaves,
    lambda inner: (
        st.builds(Seq, st.lists(inner, max_size=3).map(tuple))
        | st.builds(
            Join,
            st.lists(inner, min_size=1, max_size=3).map(tuple),
            st.sampled_from(["mean", "concat"]),
        )
    ),
    max_leaves=12,
)


def inputs(picture, bar):
    """Wires that end at a bar; one that comes to a lane of its own goes on from there."""
    return [
        wire
        for wire in picture.wires
        if wire.points[-1][1] == bar.span.y
        and bar.span.left <= wire.points[-1][0] <= bar.span.right
    ]


def path_lengths(picture):
    """The spectrum of the lengths of live paths, read from the coordinates alone."""
    units = {(box.x, box.y): box.unit for box in picture.boxes}
    bars = {bar.span.y: [] for bar in picture.bars}
    for bar in picture.bars:
        bars[bar.span.y].append(bar)

    def at(x, y):
        if y == 0.0:
            return Counter({0: 1})
        arriving = [wire for wire in picture.wires if wire.points[-1] == (x, y)]
        for bar in bars.get(y, []):
            if bar.span.left <= x <= bar.span.right:
                arriving = inputs(picture, bar)
        live = [wire for wire in arriving if wire.is_live]
        total = sum((at(*wire.points[0]) for wire in live), Counter())
        step = (x, y) in units and not isinstance(units[x, y], Projection)
        return Counter({length + step: n for length, n in total.items()})

    return dict(sorted(at(picture.sink.middle, picture.height).items()))


def crossings(picture):
    """Wires that run through a box or a bar that is neither their start nor their end."""
    for wire in picture.wires:
        for (x0, y0), (x1, y1) in pairwise(wire.points):
            low, high = sorted((x0, x1))
            for box in picture.boxes:
                beside = low - 0.4 < box.x < high + 0.4
                if beside and y0 < box.y < y1:
                    yield wire, box
                if y0 == y1 and beside and abs(box.y - y0) < 0.4:
                    yield wire, box
            for bar in picture.bars:
                if y0 < bar.span.y < y1 and bar.span.left <= x0 <= bar.span.right:
                    yield wire, bar


def check(expr):
    picture = layout(expr)
    applied = [node.name for node, _ in topology.unit_channels(expr, 1, 1)]
    assert [box.unit.name for box in picture.boxes] == applied
    assert tuple(len(inputs(picture, bar)) for bar in picture.bars) == topology.join_sizes(expr)
    assert path_lengths(picture) == topology.path_lengths(expr)
    assert not list(crossings(picture))
    for i, one in enumerate(picture.boxes):
        for other in picture.boxes[i + 1 :]:
            assert abs(one.x - other.x) >= 1 or abs(one.y - other.y) >= 1 - 1e-9
    assert all(y0 <= y1 for wire in picture.wires for (_, y0), (_, y1) in pairwise(wire.points))


def test_picture_tells_the_expression(expr):
    check(expr)


@settings(max_examples=100, deadline=None)
@given(expressions)
def test_picture_tells_any_expression(expr):
    check(expr)


# What is dropped


def live_units(picture):
    return {box.unit for box in picture.boxes if box.is_live}


def applied(expr):
    return {node for node, _ in topology.unit_channels(expr, 1, 1)}


@pytest.mark.parametrize("column", [1, 2, 3, 4])
def test_a_lone_column_is_what_is_left_of_the_block(column):
    block = fractal(4)
    rest = topology.restrict(block, column=column)
    picture = layout(block, column=column)
    assert path_lengths(picture) == topology.path_lengths(rest)
    assert live_units(picture) == applied(rest)
    # Of the joins after 2, 4, 6 and 8 of the deepest units, those where a unit of the column ends.
    ends = [end % 2 ** (4 - column) == 0 for end in (2, 4, 6, 8)]
    assert [bar.span.is_live for bar in picture.bars] == ends


@settings(max_examples=100, deadline=None)
@given(expressions, st.data())
def test_what_is_dropped_is_not_live(expr, data):
    sizes = topology.join_sizes(expr)
    alive = [data.draw(st.lists(st.booleans(), min_size=k, max_size=k)) for k in sizes]
    try:
        rest = topology.restrict(expr, alive=alive)
    except InputError:
        with pytest.raises(InputError, match="no path"):
            layout(expr, alive=alive)
        return
    picture = layout(expr, alive=alive)
    assert path_lengths(picture) == topology.path_lengths(rest)
    assert live_units(picture) == applied(rest)
    # Elsewhere nothing moves.
    assert [box[:3] for box in picture.boxes] == [box[:3] for box in layout(expr).boxes]


def test_a_dropped_skip_is_a_dead_wire():
    picture = layout(topology.residual(1), alive=[[True, False]])
    assert all(box.is_live for box in picture.boxes)
    skip = [wire for wire in inputs(picture, picture.bars[0]) if wire.points[0][0] == 1]
    assert [wire.is_live for wire in skip] == [False]


# Lanes


@pytest.mark.parametrize("columns", range(1, 6))
def test_columns_of_a_fractal_are_lanes(columns):
    boxes = layout(fractal(columns)).boxes
    assert {(box.unit.column, box.x) for box in boxes} == {
        (column, column - 1) for column in range(1, columns + 1)
    }


@pytest.mark.parametrize("columns", range(1, 6))
def test_a_unit_stands_in_the_middle_of_the_units_that_it_bridges(columns):
    boxes = layout(fractal(columns)).boxes
    levels = {
        column: np.array([box.y for box in boxes if box.unit.column == column])
        for column in range(1, columns + 1)
    }
    for column, y in levels.items():
        bridged = levels[columns].reshape(2 ** (column - 1), -1)
        np.testing.assert_allclose(y, bridged.mean(axis=1))


def test_a_lane_stays_when_other_columns_are_dropped():
    rest = topology.restrict(fractal(3), alive=[[False, True], [True, True, True]])
    assert {(box.unit.column, box.x) for box in layout(rest).boxes} == {(1, 0), (2, 1), (3, 2)}


def test_coinciding_ends_meet_in_one_bar():
    *_, last = layout(fractal(4)).bars
    assert (last.span.left, last.span.right) == (0, 3)
    assert len(layout(fractal(4)).bars) == 4
