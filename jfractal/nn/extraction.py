"""A column as a net of its own."""

from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import lax

from jfractal import topology
from jfractal.arguments import described
from jfractal.errors import InputError
from jfractal.nn.block_net import BlockNet, Columns
from jfractal.nn.norms import EPSILON
from jfractal.nn.surgery import check_net
from jfractal.posterior.gaussian import gaussians
from jfractal.typing import Array, Params, Variables

__all__ = ["extract"]


def extract(
    net: BlockNet, variables: Variables, *, column: Columns = None
) -> tuple[BlockNet, Variables]:
    """The part of a net that runs for a column, as a net by itself, batch norm folded in.

    A linear layer and the normalisation behind it, by statistics that no longer change, are one
    linear layer: ``w' = w · γ/√(var + ε)``, ``b' = β − mean · γ/√(var + ε)``. The outputs are those
    of ``net.apply(variables, x, column=column)``. A column of a fractal net is a plain chain.

    Args:
        net: The trained net.
        variables: Its variables; arrays where there is a batch norm.
        column: The column, or one for each block; the whole net if left out.

    Returns:
        The net and its variables, without batch statistics.

    Raises:
        InputError: If there is no such column, it leaves a ``concat`` or ``convex`` join without
            some of its inputs, or a batch norm stands in front of its layer (`order` ``pre``).
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
            statistics = variables["batch_stats"][name]  # of projections there are none
            for k in kept.keys() & statistics.keys():
                moments = statistics[k]["norm"][_route(unit.norm, lone)]
                kept[k] = _fold(f"{name}/{k}", kept[k], moments, unit.last)
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
    """Which statistics a batch norm predicts by."""
    if norm == "batch_shared":
        return "shared"
    return "joined" if lone is None else "alone"


def _fold(path: str, unit: Params, moments: dict[str, Array], last: str) -> dict[str, Any]:
    if gaussians(unit):
        raise InputError(
            "`variables` must hold arrays where a batch norm is folded in, got Gaussian leaves: "
            "draw them by `jf.sample(params, key)`, or take their `jf.mean(params)`"
        )
    try:
        norm, kernel = unit["norm"], jnp.asarray(unit[last]["kernel"])
        factor = norm["scale"] * lax.rsqrt(moments["var"] + EPSILON)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"`variables` must be those of `net`, with a kernel and a norm at '{path}', got "
            f"{described(unit)}"
        ) from error
    layer = {
        "kernel": kernel * jnp.expand_dims(factor, range(kernel.ndim - 1)),
        "bias": norm["bias"] - moments["mean"] * factor,
    }
    return {k: leaf for k, leaf in unit.items() if k != "norm"} | {last: layer}
