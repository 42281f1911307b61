"""Spoiled calls of `jfractal.topology`."""

from collections.abc import Iterator
from functools import partial

from jfractal import topology
from jfractal.topology import Identity, Join, Seq, Unit
from tests.spoiled.calls import Call

EXPR = topology.fractal(3)


def calls() -> Iterator[Call]:
    yield Call(Unit, {"name": "a", "column": 2}, {"name": "another word"})
    yield Call(topology.Projection, {"name": "a", "column": 1}, {"name": "another word"})
    yield Call(Seq, {"parts": (Unit("a"), Identity())}, {"parts": "empty, a part less"})
    yield Call(Join, {"parts": (Unit("a"), Unit("b")), "how": "sum"}, {"parts": "a part less"})
    yield Call(topology.plain, {"num_units": 3})
    yield Call(topology.dense, {"num_units": 3})
    yield Call(topology.residual, {"num_blocks": 2, "units_per_block": 3})
    yield Call(topology.fractal, {"columns": 3, "how": "mean", "nested": True})
    yield Call(topology.doubly_recursive, {"levels": 3, "tied": False, "how": "concat"})
    for fold in (
        topology.depth,
        topology.num_paths,
        topology.path_lengths,
        topology.columns,
        topology.units,
        topology.unit_depths,
        topology.join_sizes,
        topology.join_kinds,
    ):
        yield Call(fold, {"expr": EXPR})
    yield Call(topology.receptive_field, {"expr": EXPR, "kernel_size": 3})
    widths = {"expr": EXPR, "in_channels": 3, "out_channels": 8}
    for function in (topology.channels, topology.project):
        yield Call(function, widths)
    yield Call(topology.unit_channels, widths | {"column": 2})
    yield Call(
        topology.join_channels,
        {"join": Join((Unit("a"), Unit("b"))), "inputs": [3, 3], "out_channels": 8},
        {"inputs": "a part less"},
    )
    yield Call(topology.restrict, {"expr": EXPR, "column": 2})
    flags = [[True] * size for size in topology.join_sizes(EXPR)]
    yield Call(topology.restrict, {"expr": EXPR, "alive": flags}, name="restrict(alive)")
    yield Call(
        partial(topology.evaluate, x=1),
        {"expr": EXPR, "unit": lambda node, x: x, "join": lambda node, xs: sum(xs)},
        name="evaluate",
    )
