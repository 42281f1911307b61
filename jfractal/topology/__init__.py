"""Architectures as expressions: four kinds of node, rules that build them, folds that read them.

An expression only says how units are wired; there is no JAX in this package. A *rule* is any
function that returns an expression (`plain`, `fractal`, `residual`, `dense`, `doubly_recursive`, or
your own). A *fold* is `evaluate` with its own meaning of a unit and a join: for a number (`depth`,
`num_paths`), a polynomial (`path_lengths`), an expression (`restrict`, `project`), feature maps
(`jfractal.nn.Block`) or a drawing (`jfractal.viz.structure`).

Example:
    >>> block = fractal(columns=3)
    >>> depth(block), num_paths(block), len(units(block))
    (4, 5, 7)
    >>> units(restrict(block, column=2))
    ('column2_unit1', 'column2_unit2')
"""

from jfractal.topology.expression import Expr as Expr
from jfractal.topology.expression import How as How
from jfractal.topology.expression import Identity as Identity
from jfractal.topology.expression import Join as Join
from jfractal.topology.expression import Projection as Projection
from jfractal.topology.expression import Seq as Seq
from jfractal.topology.expression import Unit as Unit
from jfractal.topology.expression import evaluate as evaluate
from jfractal.topology.folds import channels as channels
from jfractal.topology.folds import columns as columns
from jfractal.topology.folds import depth as depth
from jfractal.topology.folds import join_channels as join_channels
from jfractal.topology.folds import join_kinds as join_kinds
from jfractal.topology.folds import join_sizes as join_sizes
from jfractal.topology.folds import num_paths as num_paths
from jfractal.topology.folds import path_lengths as path_lengths
from jfractal.topology.folds import receptive_field as receptive_field
from jfractal.topology.folds import unit_channels as unit_channels
from jfractal.topology.folds import unit_depths as unit_depths
from jfractal.topology.folds import units as units
from jfractal.topology.rewriting import project as project
from jfractal.topology.rewriting import restrict as restrict
from jfractal.topology.rules import dense as dense
from jfractal.topology.rules import doubly_recursive as doubly_recursive
from jfractal.topology.rules import fractal as fractal
from jfractal.topology.rules import plain as plain
from jfractal.topology.rules import residual as residual
