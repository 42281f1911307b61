"""Extraction of a column as a separate net."""

from functools import partial, reduce
from operator import getitem
from typing import Any

import jax.numpy as jnp
from jax import lax

from jfractal import topology
from jfractal.arguments import as_array, described
from jfractal.errors import InputError
from jfractal.nn.block_net import BlockNet, Columns
from jfractal.nn.norms import EPSILON
from jfractal.nn.surgery import check_net
from jfractal.posterior.gaussian import gaussians
from jfractal.typing import Params, Variables

__all__ = ["extract"]


def extract(
    net: BlockNet, variables: Variables, *, column: Columns = None
) -> tuple[BlockNet, Variables]:
    """Extracts a column of a net as a separate net, with batch norms folded in.

    A linear layer followed by a batch norm with fixed statistics is one linear layer:
    ``w' = w · γ/√(var + ε)``, ``b' = β − mean · γ/√(var + ε)``. The outputs are those of
    ``net.apply(variables, x, column=column)``. A column of a fractal net becomes a plain chain.

    Args:
        net: The trained net.
        variables: Variables of the net. Units with a batch norm must hold arrays, not Gaussians.
        column: The column, or a tuple with one for each block. By default, the whole net.

    Returns:
        The net and its variables, without batch statistics.

    Raises:
        InputError: If there is no such column, a ``concat`` or ``convex`` join would lose some of
            its inputs, or a batch norm comes before its layer (`order` ``pre``).
    """
    check_net(net, variables)
    unit = net.unit(1, parent=None)
    has_batch_norm = unit.norm in ("batch", "batch_shared")
    if has_batch_norm and unit.order == "pre":
        raise InputError("`net` has a batch norm in front of each layer, which cannot be folded in")
    if has_batch_norm and "batch_stats" not in variables:
        raise InputError(
            "`variables` must hold the `batch_stats` of a net with batch norms, got "
            f"{tuple(variables)}"
        )
    params: Params = {"head": variables["params"]["head"]}
    blocks = []
    for i, (expr, lone) in enumerate(zip(net.blocks, net.lone_columns(column)), start=1):
        name = f"block{i}"
        rest = _alone(expr, lone)
        dropped = set(topology.units(expr)) - set(topology.units(rest))
        kept = {k: leaf for k, leaf in variables["params"][name].items() if k not in dropped}
        if has_batch_norm:
            route = _route(unit.norm, lone)
            # Projections, which are kernels by themselves, and joins have no norm.
            for k in [k for k, v in kept.items() if isinstance(v, dict) and "kernel" not in v]:
                place = (name, k, "norm", route)
                kept[k] = _fold(place, kept[k], variables["batch_stats"], unit.last)
        params[name] = kept
        blocks.append(rest)
    folded = {"norm": "none", "use_bias": True} if has_batch_norm else {}
    lone_net = net.clone(blocks=tuple(blocks), unit=partial(net.unit, **folded), lone=None)
    return lone_net, {"params": params}


def _alone(expr: topology.Expr, column: int | None) -> topology.Expr:
    if column is None:
        return expr
    rest = topology.restrict(expr, column=column)
    if "concat" in topology.join_kinds(expr) or "convex" in topology.join_kinds(rest):
        raise InputError(
            f"`column` {column} leaves a concat or a convex join without some of its inputs: only "
            "the whole net can be extracted, got a net with such joins"
        )
    return rest


def _route(norm: str, lone: int | None) -> str:
    """The statistics by which a batch norm predicts."""
    if norm == "batch_shared":
        return "shared"
    return "joined" if lone is None else "alone"


def _fold(place: tuple[str, ...], unit: Params, statistics: Variables, last: str) -> dict[str, Any]:
    path = "/".join(place[:2])
    if gaussians(unit):
        raise InputError(
            "`variables` must hold arrays where a batch norm is folded in, got Gaussian leaves: "
            "draw them by `jf.sample(params, key)`, or take their `jf.mean(params)`"
        )
    try:
        moments = reduce(getitem, place, statistics)
        norm, kernel = unit["norm"], unit[last]["kernel"]
        leaves = (kernel, norm["scale"], norm["bias"], moments["mean"], moments["var"])
    except (KeyError, TypeError) as error:
        raise InputError(
            f"`variables` must be those of `net`, with a kernel, a norm and its statistics at "
            f"'{path}', got {described(unit)}"
        ) from error
    kernel, *vectors = (jnp.asarray(as_array("variables", leaf)) for leaf in leaves)
    if {vector.shape for vector in vectors} != {kernel.shape[-1:]}:
        raise InputError(
            f"`variables` must have a norm and statistics of {kernel.shape[-1:]} at '{path}', as "
            f"many as its kernel has features, got {[vector.shape for vector in vectors]}"
        )
    scale, bias, mean, variance = vectors
    factor = scale * lax.rsqrt(variance + EPSILON)
    layer = {
        "kernel": kernel * jnp.expand_dims(factor, range(kernel.ndim - 1)),
        "bias": bias - mean * factor,
    }
    return {k: leaf for k, leaf in unit.items() if k != "norm"} | {last: layer}
