"""Architectures as expressions: four kinds of node, rules that build them, folds that read them.

An expression says how units are wired and nothing else; there is no JAX in this package. A *rule*
is any function that returns an expression (`plain`, `fractal`, `residual`, `dense`,
`doubly_recursive`, or your own). A *fold* is `evaluate` with its own idea of what a unit and a join
do: to a number (`depth`, `num_paths`), to a polynomial (`path_lengths`), to an expression
(`restrict`, `project`), to feature maps (`jfractal.nn.Block`) or to a drawing
(`jfractal.viz.structure`).

Example:
    >>> block = fractal(columns=3)
    >>> depth(block), num_paths(block), len(units(block))
    (4, 5, 7)
    >>> units(restrict(block, column=2))
    ('column2_unit1', 'column2_unit2')
"""

from jfractal.topology.expression import (
    Expr,
    How,
    Identity,
    Join,
    Loop,
    Projection,
    Seq,
    Unit,
    ends,
    evaluate,
)
from jfractal.topology.folds import (
    channels,
    columns,
    depth,
    join_channels,
    join_kinds,
    join_sizes,
    num_paths,
    path_lengths,
    receptive_field,
    siblings,
    unit_channels,
    unit_depths,
    units,
)
from jfractal.topology.rewriting import (
    project,
    restrict,
    roll,
)
from jfractal.topology.rules import (
    dense,
    doubly_recursive,
    fractal,
    plain,
    residual,
)

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
