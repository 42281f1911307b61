"""Folds: properties of an expression, each computed by `evaluate` with its own unit and join."""

from collections import Counter
from collections.abc import Sequence

from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.topology.expression import Expr, How, Join, Projection, Unit, evaluate

__all__ = [
    "applications",
    "channels",
    "check_column",
    "columns",
    "depth",
    "join_channels",
    "join_kinds",
    "join_sizes",
    "num_paths",
    "path_lengths",
    "receptive_field",
    "unit_channels",
    "unit_depths",
    "units",
]


def depth(expr: Expr) -> int:
    """Number of units on the longest path; 2^(C−1) for ``fractal(C)``."""
    return evaluate(expr, 0, unit=lambda node, n: n + _length(node), join=lambda _, ns: max(ns))


def _length(node: Unit) -> int:
    return 0 if isinstance(node, Projection) else 1


def unit_depths(expr: Expr) -> dict[str, int]:
    """Depth of each unit: units on the longest path from the input to it, itself included."""
    depths: dict[str, int] = {}

    def unit(node: Unit, n: int) -> int:
        depths[node.name] = max(depths.get(node.name, 0), n + _length(node))
        return n + _length(node)

    evaluate(expr, 0, unit=unit, join=lambda _, ns: max(ns))
    return depths


def num_paths(expr: Expr) -> int:
    """Number of paths from input to output; P_1 = 1, P_{C+1} = P_C² + 1 for ``fractal(C)``."""
    return evaluate(expr, 1, unit=lambda _, n: n, join=lambda _, ns: sum(ns))


def path_lengths(expr: Expr) -> dict[int, int]:
    """Number of paths of each length, ``{units on the path: paths}``."""
    spectrum = evaluate(
        expr,
        Counter({0: 1}),
        unit=lambda node, paths: Counter({k + _length(node): n for k, n in paths.items()}),
        join=lambda _, inputs: sum(inputs, Counter()),
    )
    return dict(sorted(spectrum.items()))


def receptive_field(expr: Expr, *, kernel_size: int = 3) -> int:
    """Input pixels along one axis that one output pixel sees, at stride 1: 1 + (k − 1)·depth.

    Args:
        expr: The expression.
        kernel_size: Width k of the window of every unit.

    Returns:
        Number of pixels.
    """
    check_counts(kernel_size=kernel_size)
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


def applications(expr: Expr) -> list[Unit]:
    """Every application of a unit, in the order of evaluation; a tied unit repeats."""
    nodes: list[Unit] = []
    evaluate(expr, None, unit=lambda node, _: nodes.append(node), join=lambda _, xs: None)
    return nodes


def units(expr: Expr) -> tuple[str, ...]:
    """Names of the distinct units, in the order of evaluation.

    Raises:
        InputError: If two units with the same name are not equal, since a name stands for one
            layer.
    """
    found: dict[str, Unit] = {}
    for node in applications(expr):
        if found.setdefault(node.name, node) != node:
            raise InputError(
                f"units of equal name are one layer, but {found[node.name]} and {node} differ"
            )
    return tuple(found)


def columns(expr: Expr) -> tuple[int, ...]:
    """The columns that occur, ascending."""
    return tuple(sorted({node.column for node in applications(expr) if node.column is not None}))


def check_column(expr: Expr, column: int) -> None:
    """Refuses a column that the expression does not have."""
    is_number = isinstance(column, int) and not isinstance(column, bool)
    if not is_number or column not in columns(expr):
        raise InputError(f"`column` must be one of {columns(expr)}, got {column!r}")


def unit_channels(
    expr: Expr, in_channels: int, out_channels: int, *, column: int | None = None
) -> list[tuple[Unit, int]]:
    """Input channels of every application of a unit, if each unit emits `out_channels`.

    Parameter and FLOP counts need this.

    Args:
        expr: The expression.
        in_channels: Channels of its input.
        out_channels: Channels that every unit emits.
        column: List only the units that run for this column alone. A ``concat`` keeps the channels
            of the other columns.

    Returns:
        Pairs (unit, input channels) in the order of evaluation, tied units repeated.

    Raises:
        InputError: If a number of channels is below 1, or there is no such column.
    """
    check_counts(in_channels=in_channels, out_channels=out_channels)
    if column is not None:
        check_column(expr, column)
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
    """Channels at the end of an expression, if each unit emits `out_channels`.

    Args:
        expr: The expression.
        in_channels: Channels of its input.
        out_channels: Channels that every unit emits.

    Returns:
        Number of channels.
    """
    check_counts(in_channels=in_channels, out_channels=out_channels)
    return evaluate(
        expr,
        in_channels,
        unit=lambda *_: out_channels,
        join=lambda node, inputs: join_channels(node, inputs, out_channels),
    )


def join_channels(join: Join, inputs: Sequence[int], out_channels: int) -> int:
    """Channels after a join of inputs with these channels.

    ``concat`` adds them up. The other joins keep them or, if they differ, emit `out_channels` (see
    `project`).

    Args:
        join: The join.
        inputs: Channels of each of its inputs.
        out_channels: Channels that every unit emits.

    Returns:
        Number of channels.

    Raises:
        InputError: If `join` is not a Join, or there are no inputs or no channels.
    """
    if not isinstance(join, Join):
        raise InputError(f"`join` must be a Join, got {join!r}")
    if isinstance(inputs, str) or not isinstance(inputs, Sequence) or not inputs:
        raise InputError(f"`inputs` must be the channels of at least one input, got {inputs!r}")
    for channels in inputs:
        check_counts(inputs=channels)
    check_counts(out_channels=out_channels)
    if join.how == "concat":
        return sum(inputs)
    return inputs[0] if len(set(inputs)) == 1 else out_channels
