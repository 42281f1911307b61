"""Random expressions, for property tests, and what they mean by definition."""

from functools import partial
from itertools import product

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


def enumerate_paths(expr):
    """All paths by the names on them: the definition, with no regard to how ends merge."""
    match expr:
        case Unit(name):
            return [(name,)]
        case Identity():
            return [()]
        case Seq(parts):
            return [sum(path, ()) for path in product(*map(enumerate_paths, parts))]
        case Join(parts):
            return [path for part in parts for path in enumerate_paths(part)]
