"""New batch statistics for fixed weights."""

from collections.abc import Callable, Iterable, Sequence, Sized
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jfractal.arguments import as_array, check_finite, check_functions, described, naming
from jfractal.errors import InputError
from jfractal.inference.net_errors import named_errors
from jfractal.nn.block_net import Columns
from jfractal.nn.norms import MOMENTUM
from jfractal.posterior.gaussian import check_weights
from jfractal.typing import Array, PyTree, Variables

__all__ = ["recalibrate"]

Moments = dict[str, Array]


def recalibrate(
    apply: Callable,
    variables: Variables,
    batches: Iterable[Array],
    *,
    routes: Sequence[Columns] = (None,),
) -> Variables:
    """Replaces running averages of batch statistics by the statistics of one pass over the data.

    Running averages lag behind weights that still move, and the averages of a column that runs
    alone are updated only when it is drawn. Here, every route sees every batch with the given
    weights: ``mean = avg_b(mean_b)`` and ``var = avg_b(var_b) + var_b(mean_b)`` over batches b.
    These are the moments of all data if earlier layers normalise all batches alike.

    Args:
        apply: ``apply`` of a net that takes ``train``, ``column`` and ``mutable``.
        variables: Variables of the net, with a collection ``batch_stats``.
        batches: Inputs as the net takes them, in batches of equal size, at least one.
        routes: Routes to measure statistics for: None for the joined net, a column, or a tuple with
            one for each block. Statistics of other routes stay. Shared statistics become those of
            all batches over these routes.

    Returns:
        The variables with new ``batch_stats``.

    Raises:
        InputError: If there are no batch statistics, or no batches.

    Source: Yu & Huang, "Universally slimmable networks", ICCV 2019, §4 (post-statistics).
    """
    check_functions(apply=apply)
    if not isinstance(variables, dict) or not variables.get("batch_stats"):
        raise InputError(
            f"`variables` must hold `batch_stats` to recalibrate, got {described(variables)}"
        )
    with naming("variables"):
        check_weights(params := variables.get("params", {}))
        for leaf in jax.tree.leaves(params):
            check_finite("params", jnp.asarray(leaf))
    for name, value in (("batches", batches), ("routes", routes)):
        is_empty = isinstance(value, Sized) and not len(value)
        if not isinstance(value, Iterable) or isinstance(value, str | dict) or is_empty:
            raise InputError(f"`{name}` must be a list of one or more, got {described(value)}")
    if not all(route is None or isinstance(route, int | tuple) for route in routes):
        raise InputError(
            f"`routes` must be columns, tuples of them, or None, got {described(routes)}"
        )
    # From averages of zero, one step leaves (1 − momentum) times the statistics of the batch.
    blank = jax.tree.map(jnp.zeros_like, variables["batch_stats"])

    @partial(jax.jit, static_argnames="route")
    def add(total: PyTree, x: Array, route: Columns) -> PyTree:
        _, updates = apply(
            {**variables, "batch_stats": blank}, x, train=True, column=route, mutable="batch_stats"
        )
        batch = jax.tree.map(lambda s: s / (1 - MOMENTUM), updates["batch_stats"])
        return jax.tree.map(_add, total, batch, is_leaf=_is_sums)

    total, is_empty = jax.tree.map(_zeros, blank, is_leaf=_is_moments), True
    for x in batches:
        is_empty = False
        check_finite("batches", x := jnp.asarray(as_array("batches", x)))
        for route in routes:
            with naming("batches"), named_errors(x):
                total = add(total, x, route)
    if is_empty:
        raise InputError("`batches` must hold at least one batch, got none")
    pooled = jax.tree.map(_pooled, total, variables["batch_stats"], is_leaf=_is_sums)
    return {**variables, "batch_stats": pooled}


class _Sums(NamedTuple):
    """Over the batches that have passed a norm by one route."""

    mean: Array
    square: Array  # of the means
    var: Array
    batches: Array


def _is_moments(x: Any) -> bool:
    return isinstance(x, dict) and set(x) == {"mean", "var"}


def _is_sums(x: Any) -> bool:
    return isinstance(x, _Sums)


def _zeros(moments: Moments) -> _Sums:
    return _Sums(moments["mean"], moments["mean"], moments["mean"], jnp.zeros(()))


def _add(total: _Sums, batch: Moments) -> _Sums:
    # What stays zero belongs to another route.
    mean, var, has_passed = batch["mean"], batch["var"], jnp.any(batch["var"] > 0)
    return _Sums(*jax.tree.map(jnp.add, tuple(total), (mean, mean**2, var, 1.0 * has_passed)))


def _pooled(total: _Sums, old: Moments) -> Moments:
    if not total.batches > 0:
        return old
    mean, square, var = (x / total.batches for x in total[:3])
    return {"mean": mean, "var": var + square - mean**2}
