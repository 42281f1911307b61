"""Batch statistics measured anew, for the weights as they are."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jfractal.errors import InputError
from jfractal.nn.norms import MOMENTUM
from jfractal.typing import Array, PyTree, Scalar, Variables

__all__ = ["recalibrate"]

Moments = dict[str, Array]


def recalibrate(
    apply: Callable,
    variables: Variables,
    batches: Iterable[Array],
    *,
    routes: Sequence[int | None] = (None,),
) -> Variables:
    """Replaces running averages of batch statistics by those of one pass over the data.

    Running averages lag behind weights that still move, and those of a lone column are updated
    only when it is drawn. Here every route sees every batch with the weights as they are:
    ``mean = avg_b(mean_b)`` and ``var = avg_b(var_b) + var_b(mean_b)`` over batches b, the moments
    of all the data where the layers in front normalise alike.

    Args:
        apply: ``apply`` of a net that takes ``train``, ``column`` and ``mutable``.
        variables: Its variables, with a collection ``batch_stats``.
        batches: Inputs as the net takes them, in batches of equal size, at least one.
        routes: Which statistics to measure: None for the joined net, columns by number. Those of
            other routes stay.

    Returns:
        The variables with new ``batch_stats``.

    Raises:
        InputError: If there are no batch statistics, or no batches.

    Source: Yu & Huang, "Universally slimmable networks", ICCV 2019, §4 (post-statistics).
    """
    if not variables.get("batch_stats"):
        raise InputError("`variables` must hold `batch_stats` to recalibrate, got none")
    # From averages of zero, one step leaves (1 − momentum) times the statistics of the batch; what
    # stays zero belongs to another route.
    blank = jax.tree.map(jnp.zeros_like, variables["batch_stats"])

    @partial(jax.jit, static_argnames="route")
    def add(total: _Sums, x: Array, route: int | None) -> _Sums:
        _, updates = apply(
            {**variables, "batch_stats": blank}, x, train=True, column=route, mutable="batch_stats"
        )
        batch = jax.tree.map(lambda s: s / (1 - MOMENTUM), updates["batch_stats"])
        squares = jax.tree.map(jnp.square, batch)
        return _Sums(*jax.tree.map(jnp.add, tuple(total), (batch, squares, 1.0)))

    totals = dict.fromkeys(routes, _Sums(blank, blank, 0.0))
    for x in batches:
        totals = {route: add(total, x, route) for route, total in totals.items()}
    statistics = variables["batch_stats"]
    for total in totals.values():
        if not total.batches > 0:
            raise InputError("`batches` must hold at least one batch, got none")
        statistics = jax.tree.map(
            partial(_pooled, total.batches), statistics, *total[:2], is_leaf=_is_moments
        )
    return {**variables, "batch_stats": statistics}


class _Sums(NamedTuple):
    """Over batches: of the statistics, of their squares, and of ones."""

    first: PyTree
    second: PyTree
    batches: float | Scalar


def _is_moments(x: Any) -> bool:
    return isinstance(x, dict) and set(x) == {"mean", "var"}


def _pooled(count: float | Scalar, old: Moments, first: Moments, second: Moments) -> Moments:
    if not jnp.any(first["var"] > 0):
        return old
    mean = first["mean"] / count
    between = second["mean"] / count - mean**2
    return {"mean": mean, "var": first["var"] / count + between}
