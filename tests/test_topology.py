from collections import Counter
from dataclasses import replace
from fractions import Fraction
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jfractal import topology
from jfractal.errors import InputError
from jfractal.topology import Identity, Join, Seq, Unit
from tests.expressions import any_exprs, enumerate_paths, exprs

COLUMNS = range(1, 8)
steady = settings(deadline=None, derandomize=True)


def mean_of(values):
    return sum(values, start=Fraction(0)) / len(values)


def expected_length(expr):
    """Length of the path that a signal takes, weighed by the means of the joins."""
    return topology.evaluate(
        expr, Fraction(0), unit=lambda _, n: n + 1, join=lambda _, ns: mean_of(ns)
    )


def run(expr, x, alive=None):
    """Evaluates in exact numbers: affine units, which do not commute; dead paths are None."""
    masks = iter(alive) if alive is not None else None

    def unit(node, x):
        slope = ord(node.name[-1]) + len(node.name)
        return None if x is None else slope * x + 1

    def join(node, inputs):
        mask = next(masks) if masks is not None else [True] * len(inputs)
        left = [x for x, flag in zip(inputs, mask) if flag and x is not None]
        if not left:
            return None
        return mean_of(left) if node.how == "mean" else sum(left, start=Fraction(0))

    return topology.evaluate(expr, x, unit=unit, join=join)


# Closed forms


@pytest.mark.parametrize("c", COLUMNS)
def test_fractal_counts(c):
    block = topology.fractal(c)
    assert len(topology.units(block)) == 2**c - 1
    assert topology.depth(block) == 2 ** (c - 1)
    assert topology.receptive_field(block) == 1 + 2 * 2 ** (c - 1)
    assert topology.columns(block) == tuple(range(1, c + 1))
    paths = 1
    for _ in range(c - 1):
        paths = paths**2 + 1
    assert topology.num_paths(block) == paths
    assert sum(topology.path_lengths(block).values()) == paths


@pytest.mark.parametrize("c", COLUMNS)
def test_fractal_joins_are_flat(c):
    # One join after every second unit of the deepest column, with an input from every column that
    # ends there: after the e-th unit those of 1, 2, 4, … deepest units up to the power in e.
    ends = range(2, 2 ** (c - 1) + 1, 2)
    assert topology.join_sizes(topology.fractal(c)) == tuple((e & -e).bit_length() for e in ends)


def test_fractal_of_three_columns_is_the_figure_of_the_paper():
    def inner(k):
        pair = Seq((Unit(f"column3_unit{2 * k - 1}", 3), Unit(f"column3_unit{2 * k}", 3)))
        return Join((Unit(f"column2_unit{k}", 2), pair))

    assert topology.fractal(3) == Join((Unit("column1_unit1", 1), Seq((inner(1), inner(2)))))
    assert topology.path_lengths(topology.fractal(3)) == {1: 1, 2: 1, 3: 2, 4: 1}
    assert topology.join_sizes(topology.fractal(3)) == (2, 3)


@pytest.mark.parametrize("c", COLUMNS)
def test_every_unit_belongs_to_one_column(c):
    block = topology.fractal(c)
    by_column = [topology.units(topology.restrict(block, column=k)) for k in range(1, c + 1)]
    assert [len(names) for names in by_column] == [2 ** (k - 1) for k in range(1, c + 1)]
    together = [name for names in by_column for name in names]
    assert len(set(together)) == len(together)
    assert set(together) == set(topology.units(block))


@pytest.mark.parametrize("c", COLUMNS)
@pytest.mark.parametrize("how", ["mean", "sum"])
def test_unit_channels_of_a_fractal(c, how):
    channels = topology.unit_channels(topology.fractal(c, how=how), 3, 16)
    assert tuple(node.name for node, _ in channels) == topology.units(topology.fractal(c))
    assert sum(n for _, n in channels) == c * 3 + (2**c - 1 - c) * 16


def test_concat_adds_channels_up():
    dense = Seq((Join((Unit("a"), Identity()), "concat"), Join((Unit("b"), Identity()), "concat")))
    assert topology.unit_channels(Seq((dense, Unit("c"))), 3, 16) == [
        (Unit("a"), 3),
        (Unit("b"), 19),
        (Unit("c"), 35),
    ]
    assert topology.channels(dense, 3, 16) == 35


def test_plain_and_residual():
    plain = topology.plain(3)
    assert topology.units(plain) == ("unit1", "unit2", "unit3")
    assert topology.path_lengths(plain) == {3: 1} and topology.join_sizes(plain) == ()
    residual = topology.residual(3, units_per_block=2)
    assert topology.path_lengths(residual) == {0: 1, 2: 3, 4: 3, 6: 1}  # (1 + t²)³
    assert topology.depth(residual) == 6 and topology.num_paths(residual) == 8
    # Identity passes x on: three blocks of x + u2(u1(x)), with slope 2 for every unit.
    doubled = topology.evaluate(residual, 1, unit=lambda _, x: 2 * x, join=lambda _, xs: sum(xs))
    assert doubled == 5**3


# Joins: ends that coincide merge


@pytest.mark.parametrize("c", COLUMNS)
def test_flat_and_nested_joins_weigh_paths_differently(c):
    flat, nested = topology.fractal(c), topology.fractal(c, nested=True)
    assert expected_length(flat) == Fraction(2**c - 1, c)
    assert expected_length(nested) == Fraction(c + 1, 2)
    assert topology.units(nested) == topology.units(flat)
    assert topology.path_lengths(nested) == topology.path_lengths(flat)
    assert set(topology.join_sizes(nested)) <= {2}
    assert len(topology.join_sizes(nested)) == 2 ** (c - 1) - 1


@pytest.mark.parametrize("k", [1, 2, 5])
def test_ends_of_inner_joins_weigh_as_much_as_the_others(k):
    a, b, c = Unit("a"), Unit("b"), Unit("c")
    last = Join(tuple(Unit(f"u{i}") for i in range(k)))
    for inner in (last, Seq((a, last)), Seq((b, Seq((a, last))))):
        assert topology.join_sizes(Join((c, inner))) == (k + 1,)
    assert topology.join_sizes(Join((c, Seq((last, Identity()))))) == (k, 2)
    assert topology.join_sizes(Join((c, last), "sum")) == (k, 2)  # another kind stays apart


# Folds against enumeration


@steady
@given(exprs)
def test_folds_meet_an_enumeration_of_paths(expr):
    paths = enumerate_paths(expr)
    assert topology.num_paths(expr) == len(paths)
    assert topology.depth(expr) == max(map(len, paths))
    assert topology.path_lengths(expr) == dict(sorted(Counter(map(len, paths)).items()))
    assert list(topology.path_lengths(expr)) == sorted(topology.path_lengths(expr))
    assert set(topology.units(expr)) == {name for path in paths for name in path}


@steady
@given(exprs)
def test_unit_depths_meet_an_enumeration_of_paths(expr):
    depths = {}
    for path in enumerate_paths(expr):
        for position, name in enumerate(path, start=1):
            depths[name] = max(depths.get(name, 0), position)
    assert topology.unit_depths(expr) == depths


@steady
@given(any_exprs, st.sampled_from([1, 3, 5]))
def test_the_receptive_field_is_what_is_seen(expr, kernel_size):
    reach = kernel_size // 2
    seen = topology.evaluate(
        expr,
        frozenset([0]),
        unit=lambda _, pixels: frozenset(p + d for p in pixels for d in range(-reach, reach + 1)),
        join=lambda _, inputs: frozenset.union(*inputs),
    )
    assert topology.receptive_field(expr, kernel_size=kernel_size) == len(seen)


@steady
@given(exprs, st.permutations([2, 3, 5, 7, 11, 13]))
def test_linear_units_sum_over_paths(expr, primes):
    weight = dict(zip("abcdef", primes))
    total = topology.evaluate(
        expr, 1, unit=lambda node, x: weight[node.name] * x, join=lambda _, xs: sum(xs)
    )
    assert total == sum(prod(weight[name] for name in path) for path in enumerate_paths(expr))


# Sub-architectures


@pytest.mark.parametrize("c", COLUMNS)
def test_a_lone_column_is_a_chain(c):
    for column in range(1, c + 1):
        lone = topology.restrict(topology.fractal(c), column=column)
        assert topology.depth(lone) == 2 ** (column - 1)
        assert topology.join_sizes(lone) == () and topology.num_paths(lone) == 1
        assert topology.columns(lone) == (column,)
        expected = [f"column{column}_unit{k}" for k in range(1, 2 ** (column - 1) + 1)]
        assert list(topology.units(lone)) == expected


def test_a_column_keeps_units_that_belong_to_none():
    net = Seq((Unit("stem"), topology.fractal(2), Unit("last")))
    assert topology.units(topology.restrict(net, column=1)) == ("stem", "column1_unit1", "last")


@pytest.mark.parametrize(
    "expr",
    [
        *map(topology.fractal, COLUMNS),
        topology.fractal(4, how="concat"),
        topology.plain(3),
        topology.residual(2),
        Seq((topology.fractal(3), Unit("transition"), topology.fractal(2, how="sum"))),
    ],
)
def test_nothing_dropped_nothing_changed(expr):
    assert topology.restrict(expr) == expr
    alive = [[True] * size for size in topology.join_sizes(expr)]
    assert topology.restrict(expr, alive=alive) == expr


@steady
@given(st.one_of(exprs, st.sampled_from(COLUMNS).map(topology.fractal)), st.data())
def test_restricting_is_masking(expr, data):
    sizes = topology.join_sizes(expr)
    alive = [data.draw(st.lists(st.booleans(), min_size=k, max_size=k)) for k in sizes]
    masked = run(expr, Fraction(1, 3), alive)
    if masked is None:
        with pytest.raises(InputError, match="no path from input to output"):
            topology.restrict(expr, alive=alive)
    else:
        rest = topology.restrict(expr, alive=alive)
        assert run(rest, Fraction(1, 3)) == masked
        assert set(topology.units(rest)) <= set(topology.units(expr))


@steady
@given(exprs.filter(topology.columns), st.data())
def test_restricting_to_a_column_leaves_its_paths(expr, data):
    column = data.draw(st.sampled_from(topology.columns(expr)))
    other = relabel(expr, lambda node: "x" if node.column not in (None, column) else node.name)
    paths = [path for path in enumerate_paths(other) if "x" not in path]
    if paths:
        rest = topology.restrict(expr, column=column)
        assert Counter(enumerate_paths(rest)) == Counter(paths)
    else:
        with pytest.raises(InputError, match="no path from input to output"):
            topology.restrict(expr, column=column)


def relabel(expr, name):
    match expr:
        case Unit():
            return replace(expr, name=name(expr))
        case Seq(parts) | Join(parts):
            return replace(expr, parts=tuple(relabel(part, name) for part in parts))
        case _:
            return expr


# The doubly recursive rule and the dense one


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("n", "paths"), list(enumerate([1, 2, 6, 42, 1806], start=1)))
def test_doubly_recursive_counts(n, paths, tied):
    rule = topology.doubly_recursive(n, tied=tied)
    assert topology.num_paths(rule) == paths  # Q_n = Q² + Q
    assert topology.depth(rule) == 2 ** (n - 1)
    assert len(topology.units(rule)) == (2 if tied else 3) ** (n - 1)
    assert len(topology.unit_channels(rule, 1, 1)) == 3 ** (n - 1)
    assert topology.columns(rule) == ()
    apart = topology.doubly_recursive(n, tied=tied, how="sum")
    assert topology.path_lengths(apart) == topology.path_lengths(rule)
    if n == 3:
        assert topology.path_lengths(rule) == {1: 1, 2: 2, 3: 2, 4: 1}


def test_the_block_of_tutorials():
    # F_2 = concat(F_1(F_1(x)), F_1(x)) is two units wide, F_3 = 4 = 2 + 2.
    for n in (1, 2, 3, 4):
        rule = topology.doubly_recursive(n, how="concat")
        assert topology.channels(rule, 3, 16) == 16 * 2 ** (n - 1)
        assert topology.project(rule, 3, 16) == rule


def test_dense_units_read_all_that_came_before():
    rule = topology.dense(4)
    assert [n for _, n in topology.unit_channels(rule, 3, 16)] == [3, 19, 35, 51]
    assert topology.channels(rule, 3, 16) == 3 + 4 * 16
    assert topology.num_paths(rule) == 2**4 and topology.depth(rule) == 4


# Projections


def demands(expr, in_channels, out_channels):
    """Whether a sum-like join or a tied unit meets inputs of different widths."""
    units = {}

    def unit(node, n):
        units.setdefault(node.name, set()).add(n)
        return out_channels

    clashes = []

    def join(node, ns):
        clashes.append(node.how != "concat" and len(set(ns)) > 1)
        return topology.join_channels(node, ns, out_channels)

    topology.evaluate(expr, in_channels, unit=unit, join=join)
    return any(clashes) or any(len(found) > 1 for found in units.values())


@steady
@given(any_exprs, st.sampled_from([3, 16]))
def test_projections_settle_all_widths(expr, in_channels):
    fitted = topology.project(expr, in_channels, 16)
    assert not demands(fitted, in_channels, 16)
    assert (fitted == expr) == (not demands(expr, in_channels, 16))
    assert topology.channels(fitted, in_channels, 16) == topology.channels(expr, in_channels, 16)
    # A projection has no length and makes no path.
    assert topology.path_lengths(fitted) == topology.path_lengths(expr)
    added = set(topology.units(fitted)) - set(topology.units(expr))
    assert all("_project" in name for name in added)


def test_a_skip_over_a_change_of_width_is_projected():
    first, second = topology.project(topology.residual(2), 3, 16).parts
    assert first.parts[1] == topology.Projection("join1_project2")
    assert second == topology.residual(2).parts[1]
    assert topology.project(topology.residual(2), 16, 16) == topology.residual(2)


# A rule of one's own


def ladder(rungs):
    """Every unit skips to the end."""
    rest = Unit(f"unit{rungs}")
    for i in range(rungs - 1, 0, -1):
        rest = Seq((Unit(f"unit{i}"), Join((Identity(), rest))))
    return rest


def test_the_folds_read_any_rule():
    rule = ladder(4)
    assert topology.path_lengths(rule) == {1: 1, 2: 1, 3: 1, 4: 1}
    assert topology.join_sizes(rule) == (4,) and topology.depth(rule) == 4


def threefold(columns, column=1, name="unit"):
    """FractalNet's rule with three copies in line."""
    unit = Unit(name, column)
    if column == columns:
        return unit
    return Join((unit, Seq(tuple(threefold(columns, column + 1, name + i) for i in "abc"))))


@pytest.mark.parametrize("c", range(1, 5))
def test_a_rule_that_names_columns_can_be_cut_to_them(c):
    rule, paths = threefold(c), 1
    for _ in range(c - 1):
        paths = paths**3 + 1
    assert topology.num_paths(rule) == paths
    assert topology.depth(rule) == 3 ** (c - 1)
    assert len(topology.units(rule)) == (3**c - 1) // 2
    assert topology.columns(rule) == tuple(range(1, c + 1))
    assert topology.project(rule, 3, 16) == rule
    for column in range(1, c + 1):
        lone = topology.restrict(rule, column=column)
        assert topology.path_lengths(lone) == {3 ** (column - 1): 1}
    # Without the first column, which ends in the last join only, three smaller ones are left.
    alive = [[True] * size for size in topology.join_sizes(rule)]
    if c > 1:
        alive[-1][0] = False
        rest = topology.restrict(rule, alive=alive)
        assert topology.num_paths(rest) == paths - 1
        assert topology.columns(rest) == tuple(range(2, c + 1))


# Errors


@pytest.mark.parametrize(
    ("rule", "argument"),
    [
        (lambda: topology.fractal(0), "columns"),
        (lambda: topology.fractal(2.5), "columns"),
        (lambda: topology.fractal("3"), "columns"),
        (lambda: topology.plain(0), "num_units"),
        (lambda: topology.residual(0), "num_blocks"),
        (lambda: topology.residual(1, units_per_block=-1), "units_per_block"),
        (lambda: topology.dense(0), "num_units"),
        (lambda: topology.doubly_recursive(0), "levels"),
    ],
)
def test_rules_refuse_counts_below_one(rule, argument):
    with pytest.raises(InputError, match=f"`{argument}` must be (at least 1|an integer), got"):
        rule()


@pytest.mark.parametrize("column", [0, 4, -1])
def test_a_column_must_exist(column):
    with pytest.raises(InputError, match=rf"`column` must be one of \(1, 2, 3\), got {column}"):
        topology.restrict(topology.fractal(3), column=column)


@pytest.mark.parametrize("alive", [[], [[True, True]], [[True] * 3, [True] * 2]])
def test_alive_must_fit_the_joins(alive):
    with pytest.raises(InputError, match=r"one flag for each join input \(2, 3\)"):
        topology.restrict(topology.fractal(3), alive=alive)


def test_joins_are_not_empty_and_of_a_known_kind():
    with pytest.raises(InputError, match="`parts` of a Join must hold at least one expression"):
        Join(())
    with pytest.raises(InputError, match=r"`how` must be one of .*'convex'.*, got 'median'"):
        topology.fractal(2, how="median")


def test_a_name_stands_for_one_layer():
    expr = Join((Unit("a", 1), Unit("a", 2)))
    with pytest.raises(InputError, match=r"units of equal name are one layer, but .* differ"):
        topology.units(expr)


@pytest.mark.parametrize("expr", [topology.fractal, None, "unit", (Unit("a"),)])
def test_what_is_no_expression_is_refused(expr):
    for fold in (topology.units, topology.depth, topology.num_paths):
        with pytest.raises(InputError, match=r"`expr` must be made of Unit, Identity, .*, got"):
            fold(expr)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Seq("ab"), "parts"),
        (lambda: Seq(("a",)), "parts"),
        (lambda: Seq([Unit("a")]), "parts"),
        (lambda: Seq(None), "parts"),
        (lambda: Join((1, 2)), "parts"),
        (lambda: Join((Unit("a"), None)), "parts"),
        (lambda: Join((Unit("a"),), how=["mean"]), "how"),
        (lambda: Unit(None), "name"),
        (lambda: Unit(""), "name"),
        (lambda: Unit("a", column=0), "column"),
        (lambda: Unit("a", column=1.5), "column"),
        (lambda: topology.fractal(17), "columns"),
        (lambda: topology.fractal(1, how="middle"), "how"),
        (lambda: topology.fractal(2, nested="no"), "nested"),
        (lambda: topology.doubly_recursive(11), "levels"),
    ],
)
def test_nodes_and_rules_are_checked_when_they_are_made(make, argument):
    with pytest.raises(InputError, match=f"`{argument}`"):
        make()
