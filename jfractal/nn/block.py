"""The one module that runs an expression; joins and drop-path."""

from collections.abc import Callable, Sequence
from functools import cache, partial, reduce
from itertools import count
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jfractal import topology
from jfractal.typing import Array, Bool, Float, KeyArray

__all__ = ["Block", "DropPathPer", "draw_alive", "join"]

DropPathPer = Literal["batch", "example"]


def draw_alive(key: KeyArray, num_inputs: int, rate: float) -> Bool[Array, " inputs"]:
    """Draws which inputs of a join stay alive: each is dropped with probability `rate`, never all.

    If all are dropped one is revived, uniformly: the effective rate is p − p^k / k for k inputs.

    Args:
        key: Random key.
        num_inputs: Number of inputs k of the join.
        rate: Probability p of dropping an input.

    Returns:
        One flag for each input, at least one of them true.

    Source: Larsson et al., ICLR 2017, §3 ("local" drop-path), and the authors' join layer.
    """
    key_drop, key_revive = jax.random.split(key)
    alive = jax.random.bernoulli(key_drop, 1 - rate, (num_inputs,))
    revived = jnp.arange(num_inputs) == jax.random.randint(key_revive, (), 0, num_inputs)
    return jnp.where(alive.any(), alive, revived)


def join(
    how: topology.How,
    inputs: Sequence[Float[Array, "*shape"]],
    alive: Bool[Array, " inputs *batch"] | None = None,
    logits: Float[Array, " inputs"] | None = None,
) -> Float[Array, "*shape"]:
    """Joins feature maps: one mean, sum or maximum of those alive, or all side by side.

    Means are over the survivors and nothing is rescaled. A dropped input is replaced, not
    multiplied, by zero: it passes on neither a NaN nor a gradient.

    Args:
        how: ``mean``, ``sum``, ``max``, ``concat``, or ``convex``: ``Σ_i softmax(logits)_i · x_i``.
        inputs: Feature maps of equal shape (but for the channels of ``concat``).
        alive: One flag for each input, or for each input and example, at least one of them true;
            all live if left out.
        logits: Of the weights of a ``convex`` join.

    Returns:
        The joined map.
    """
    if alive is not None:
        alive = jnp.expand_dims(alive, range(alive.ndim, inputs[0].ndim + 1))
        empty = -jnp.inf if how == "max" else 0.0
        inputs = [jnp.where(flag, x, jnp.asarray(empty, x.dtype)) for flag, x in zip(alive, inputs)]
    match how:
        case "concat":
            return jnp.concatenate(inputs, axis=-1)
        case "max":
            return reduce(jnp.maximum, inputs)
        case "sum":
            return reduce(jnp.add, inputs)
        case "mean":
            count = len(inputs) if alive is None else alive.sum(axis=0)
            total = reduce(jnp.add, inputs)
            return total / jnp.asarray(count, total.dtype)
        case "convex":
            logits = jnp.expand_dims(jnp.asarray(logits), range(1, inputs[0].ndim + 1))
            logits = logits if alive is None else jnp.where(alive, logits, -jnp.inf)
            weights = jax.nn.softmax(logits, axis=0).astype(inputs[0].dtype)
            return reduce(jnp.add, [w * x for w, x in zip(weights, inputs)])


class _Map(NamedTuple):
    """Feature maps, None if every path to them is dead, and the number of their channels."""

    x: Array | None
    channels: int


class Block(nn.Module):
    """Runs a `topology` expression on feature maps.

    Parameters: one submodule for each distinct unit, under the unit's name, so that every
    sub-architecture shares them; ``join{j}``, the logits of the j-th join, if it is ``convex``.
    Rng stream: ``drop_path``, if the rate is above 0.

    Attributes:
        expr: The expression. Projections are put where widths demand them, see
            `topology.project`.
        features: Channels that every unit emits.
        unit: Makes the module of a unit, ``unit(features, name=...)``, which is called as
            ``module(x, train=..., alone=...)``.
        projection: Makes the module of a projection, ``projection(features, name=...)``.
        drop_path_per: Whether all of a ``batch`` loses the same join inputs, or each ``example``
            its own.
    """

    expr: topology.Expr
    features: int
    unit: Callable[..., nn.Module]
    projection: Callable[..., nn.Module] = partial(nn.Dense, use_bias=False)
    drop_path_per: DropPathPer = "batch"

    @nn.compact
    def __call__(
        self, x: Array, *, train: bool, column: int | None = None, drop_path: float = 0.0
    ) -> Array:
        """Runs the whole expression, or one column of it alone.

        Args:
            x: Feature maps, "batch *space channels".
            train: Whether the units train (batch statistics, dropout).
            column: Run this column only; nothing else is computed.
            drop_path: Probability of dropping a join input (local drop-path).

        Returns:
            The feature maps at the end of the expression.

        Raises:
            InputError: If there is no such column, no path through it, or units of one name differ.
        """
        expr = topology.project(self.expr, x.shape[-1], self.features)
        topology.units(expr)  # complains if a name stands for two layers
        if column is not None:
            topology.restrict(expr, column=column)  # complains if there is no such column
        joins = count(1)

        @cache
        def module(node: topology.Unit) -> nn.Module:
            make = self.projection if isinstance(node, topology.Projection) else self.unit
            return make(self.features, name=node.name)

        def run_unit(node: topology.Unit, value: _Map) -> _Map:
            if value.x is None or (column is not None and node.column not in (None, column)):
                return _Map(None, self.features)
            if isinstance(node, topology.Projection):
                return _Map(module(node)(value.x), self.features)
            x = module(node)(value.x, train=train, alone=column is not None)
            return _Map(x, self.features)

        def run_join(node: topology.Join, inputs: list[_Map]) -> _Map:
            name = f"join{next(joins)}"
            return self._join(name, node, inputs, drop_path)

        end = topology.evaluate(expr, _Map(x, x.shape[-1]), unit=run_unit, join=run_join).x
        assert end is not None
        return end

    def _join(self, name: str, node: topology.Join, inputs: list[_Map], drop_path: float) -> _Map:
        """Joins the maps that are not dead; of `concat`, the dead keep their place as zeros."""
        channels = topology.join_channels(node, [i.channels for i in inputs], self.features)
        logits = None
        if node.how == "convex":
            logits = self.param(name, nn.initializers.zeros_init(), (len(inputs),))
        live = {i: value.x for i, value in enumerate(inputs) if value.x is not None}
        if not live:
            return _Map(None, channels)
        maps = list(live.values())
        if node.how == "concat" and len(live) < len(inputs):
            *shape, _ = maps[0].shape
            zeros = [jnp.zeros((*shape, value.channels), maps[0].dtype) for value in inputs]
            return _Map(
                join("concat", [live.get(i, zero) for i, zero in enumerate(zeros)]), channels
            )
        alive = self._alive(name, list(live), len(maps[0]), drop_path)
        logits = logits if logits is None else logits[jnp.array(list(live))]
        return _Map(join(node.how, maps, alive, logits), channels)

    def _alive(self, name: str, live: list[int], batch: int, rate: float) -> Array | None:
        """Which live inputs of a join stay: as the variables say, else by a draw at `rate`."""
        if self.has_variable("drop_path", name):
            return self.get_variable("drop_path", name)[jnp.array(live)]
        if rate == 0 or len(live) == 1:
            return None
        key = self.make_rng("drop_path")
        if self.drop_path_per == "batch":
            return draw_alive(key, len(live), rate)
        draw = jax.vmap(lambda key: draw_alive(key, len(live), rate), out_axes=1)
        return draw(jax.random.split(key, batch))
