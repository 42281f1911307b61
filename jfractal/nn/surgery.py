"""Smaller nets: removes units, join inputs or columns that the posterior is unsure of.

Candidates are ranked by the signal-to-noise of all weights that would be removed with them, see
`jfractal.posterior.pruning.group_snr`.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from jfractal import topology
from jfractal.arguments import as_strings, check_fraction, check_type, described, naming
from jfractal.errors import InputError
from jfractal.nn.block_net import BlockNet
from jfractal.posterior.gaussian import check_weights, mean
from jfractal.posterior.pruning import group_snr
from jfractal.typing import Array, Bool, Float, Params, Variables

__all__ = ["check_net", "keep_columns", "path_snr", "prune_paths", "prune_units"]

Alive = Sequence[Sequence[Sequence[bool] | Bool[np.ndarray, " inputs"]]]
"""The live inputs of every join of every block, as flags."""


# Units of a chain of dense layers


def prune_units(params: Params, layers: Sequence[str], fraction: float) -> Params:
    """Removes the hidden units with the lowest signal-to-noise from a chain of dense layers.

    A unit is removed with its incoming weights, its bias and its outgoing weights. The smaller tree
    is that of the same chain with fewer features. Its outputs are those of the whole net with the
    outgoing weights of these units set to zero.

    Args:
        params: A tree with Gaussian leaves.
        layers: Names of the dense layers in `params`, first to last, with elementwise functions
            between them: ``("Dense_0", "Dense_1", "Dense_2")``.
        fraction: Fraction of each hidden layer to remove, between 0 and 1. The best unit of a layer
            always stays.

    Returns:
        The smaller tree. ``tree[layer]["kernel"].mean.shape[-1]`` is the number of features of a
        layer.

    Raises:
        InputError: If `fraction` is not between 0 and 1, or the layers are not a chain.
    """
    check_fraction(fraction=fraction)
    _check_chain(params, as_strings("layers", layers))
    small, pairs = dict(params), list(pairwise(layers))
    leave_together = jax.vmap(lambda *weights: group_snr(weights), in_axes=(-1, 0))
    ratios = [leave_together(small[name], small[after]["kernel"]) for name, after in pairs]
    # Layer by layer: the level differs from layer to layer, and a chain is as wide as its waist.
    flags = [_survivors([layer], fraction)[0] for layer in ratios]
    for (name, after), alive in zip(pairs, flags):
        kernel = jax.tree.map(partial(jnp.compress, alive, axis=0), small[after]["kernel"])
        small[name] = jax.tree.map(partial(jnp.compress, alive, axis=-1), small[name])
        small[after] = {**small[after], "kernel": kernel}
    return small


def _check_chain(params: Params, layers: Sequence[str]) -> None:
    check_weights(params)
    names = tuple(params) if isinstance(params, dict) else ()
    kernels = [isinstance(params[name], dict) and "kernel" in params[name] for name in names]
    names = tuple(name for name, known in zip(names, kernels) if known)
    if len(layers) < 2 or not set(layers) <= set(names):
        raise InputError(
            f"`layers` must name two or more layers of `params`, {names}, got {tuple(layers)}"
        )
    shapes = [np.shape(mean(params[name]).get("kernel")) for name in layers]
    if any(shape[-1:] != after[:-1] for shape, after in pairwise(shapes)):
        raise InputError(
            "`layers` must be a chain of dense layers, got kernels of the shapes "
            f"{dict(zip(layers, shapes))}"
        )


# Paths and columns of a net of blocks


def check_net(net: BlockNet, variables: Variables) -> None:
    """Refuses anything but a net of blocks and variables of that net.

    Raises:
        InputError: If `net` is not a net of blocks, or `variables` lack one of its units.
    """
    check_type("net", net, BlockNet, "a net of blocks, such as `jf.FractalNet(10)`")
    params = variables.get("params") if isinstance(variables, dict) else None
    if not isinstance(params, dict) or not isinstance(params.get("head"), dict):
        raise InputError(
            "`variables` must be those of `net`, {'params': ...}, whose `params` have 'head', got "
            f"{described(variables)}"
        )
    for i, expr in enumerate(net.blocks, start=1):
        block = params.get(f"block{i}")
        units = block if isinstance(block, dict) else {}
        for name in topology.units(expr):
            if not isinstance(units.get(name), dict) or not units[name]:
                raise InputError(
                    "`variables` must be those of `net`, {'params': ...}, whose `params` have "
                    f"'block{i}/{name}', got {described(variables)}"
                )
    with naming("variables"):
        check_weights(params)


def path_snr(net: BlockNet, params: Params) -> list[list[Float[np.ndarray, " inputs"]]]:
    """Signal-to-noise of every join input: that of the weights removed if only it is dropped.

    Args:
        net: The net.
        params: Weights of the net, with Gaussian leaves.

    Returns:
        One value for each input of every join of every block, in the order of
        `jfractal.topology.join_sizes`. It is infinite if no Gaussian weight would be removed, as
        for a skip.
    """
    check_net(net, {"params": params})
    return [_join_snr(expr, params[f"block{i}"]) for i, expr in enumerate(net.blocks, start=1)]


def prune_paths(net: BlockNet, variables: Variables, fraction: float) -> tuple[BlockNet, Variables]:
    """Removes the join inputs with the lowest signal-to-noise, and the units that only they need.

    The outputs are those of the net with these inputs dropped, as by drop-path.

    Args:
        net: The net.
        variables: Variables of the net, with Gaussian leaves.
        fraction: Fraction of all join inputs to remove, between 0 and 1. The best input of each
            join always stays.

    Returns:
        The smaller net and its variables. To fold batch norms in, see `jfractal.nn.extract`.

    Raises:
        InputError: If `fraction` is not between 0 and 1, or as for `keep_columns`.
    """
    check_fraction(fraction=fraction)
    check_net(net, variables)
    ratios = path_snr(net, variables["params"])
    flags = iter(_survivors([inputs for block in ratios for inputs in block], fraction))
    return _restrict(net, variables, [[next(flags) for _ in block] for block in ratios])


def keep_columns(
    net: BlockNet, variables: Variables, columns: Sequence[int]
) -> tuple[BlockNet, Variables]:
    """Removes all but some columns from a net; each join averages those that stay.

    The `group_snr` of each column helps to choose.

    Args:
        net: The net.
        variables: Variables of the net.
        columns: The columns to keep, at least one.

    Returns:
        The smaller net and its variables.

    Raises:
        InputError: If `columns` is empty or names a column that the net lacks, a join is ``concat``
            or ``convex``, or the net has implicit projections (see `BlockNet.project`).
    """
    check_net(net, variables)
    is_sequence = isinstance(columns, Sequence) and columns
    if not is_sequence or not all(type(c) is int and c in net.columns for c in columns):
        raise InputError(
            f"`columns` must be one or more of {net.columns}, got {described(columns)}"
        )

    def alive(expr: topology.Expr) -> list[list[bool]]:
        joins: list[list[bool]] = []

        def unit(node: topology.Unit, is_live: bool) -> bool:
            return is_live and node.column in (None, *columns)

        def join(node: topology.Join, inputs: list[bool]) -> bool:
            joins.append(inputs)
            return any(inputs)

        topology.evaluate(expr, True, unit=unit, join=join)
        return joins

    return _restrict(net, variables, [alive(expr) for expr in net.blocks])


def _join_snr(expr: topology.Expr, params: Params) -> list[Float[np.ndarray, " inputs"]]:
    sizes = topology.join_sizes(expr)

    def ratio(join: int, dropped: int) -> float:
        if sizes[join] == 1:
            return np.inf
        alive = [[(j, k) != (join, dropped) for k in range(n)] for j, n in enumerate(sizes)]
        rest = topology.units(topology.restrict(expr, alive=alive))
        return float(group_snr({k: params[k] for k in topology.units(expr) if k not in rest}))

    return [np.array([ratio(j, k) for k in range(n)]) for j, n in enumerate(sizes)]


def _restrict(net: BlockNet, variables: Variables, alive: Alive) -> tuple[BlockNet, Variables]:
    """The net that remains when join inputs are dropped, and its part of the variables."""
    blocks = []
    gone: dict[str, set[str]] = {}
    for i, (expr, flags) in enumerate(zip(net.blocks, alive), start=1):
        units, kinds = set(topology.units(expr)), topology.join_kinds(expr)
        if "concat" in kinds or "convex" in kinds:
            raise InputError(
                f"block {i} of `net` has joins that cannot lose an input: concat or convex"
            )
        if not units.issuperset(variables["params"][f"block{i}"]):
            raise InputError(
                f"block {i} of `net` has implicit projections: give `net.project(channels)`, with "
                "the channels of the input"
            )
        blocks.append(topology.restrict(expr, alive=[list(inputs) for inputs in flags]))
        gone[f"block{i}"] = units.difference(topology.units(blocks[-1]))

    def left(name: str, block: Params) -> Params:
        return {k: v for k, v in block.items() if k not in gone[name]} if name in gone else block

    smaller = {
        collection: {name: left(name, block) for name, block in tree.items()}
        for collection, tree in variables.items()
    }
    return net.clone(blocks=tuple(blocks)), smaller


def _survivors(
    groups: Sequence[Array | np.ndarray], fraction: float
) -> list[Bool[np.ndarray, " members"]]:
    """Flags: the lowest members over all groups are removed, but the best of each group stays."""
    ratios = np.concatenate([np.zeros(0), *groups])
    alive = np.ones(ratios.shape, bool)
    alive[np.argsort(ratios, kind="stable")[: round(fraction * ratios.size)]] = False
    flags = np.split(alive, np.cumsum([len(group) for group in groups])[:-1])
    for group, members in zip(groups, flags):
        members[np.argmax(group)] = True
    return flags
