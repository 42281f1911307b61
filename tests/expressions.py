"""Random expressions, for property tests."""

from functools import partial

from hypothesis import strategies as st

from jfractal.topology import Identity, Join, Seq, Unit

# A name is one layer, so it stands in one column.
named = {name: Unit(name, column) for name, column in zip("abcdef", [None, None, 1, 1, 2, 2])}
leaves = st.sampled_from([*named.values()]) | st.just(Identity())
HOWS = ["mean", "sum", "concat", "max", "convex"]


def compounds(hows, parts):
    some = st.lists(parts, min_size=1, max_size=3).map(tuple)
    return st.builds(Seq, some) | st.builds(Join, some, st.sampled_from(hows))


exprs = st.recursive(leaves, partial(compounds, ["mean", "sum"]), max_leaves=8)
any_exprs = st.recursive(leaves, partial(compounds, HOWS), max_leaves=8)
