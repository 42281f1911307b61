"""The one module that runs an expression."""

from collections.abc import Callable
from functools import cache, partial
from itertools import count
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jfractal import topology
from jfractal.nn.dtypes import Typed
from jfractal.nn.joins import draw_alive, join
from jfractal.typing import Array

__all__ = ["Block", "DropPathPer"]

DropPathPer = Literal["batch", "example"]


class _Map(NamedTuple):
    """Feature maps, None if every path to them is dead, and the number of their channels."""

    x: Array | None
    channels: int


class Block(Typed):
    """Runs a `topology` expression on feature maps.

    Parameters: one submodule for each distinct unit, under the unit's name, so that all
    sub-architectures share it; and ``join{j}``, the logits of the j-th join, if it is ``convex``.
    Collection ``drop_path``: the inputs of ``join{j}`` that stay, if they are not drawn. Rng
    stream: ``drop_path``, if the rate is above 0.

    Attributes:
        expr: The expression. Projections are added where widths differ, see `topology.project`.
        features: Channels that every unit emits.
        unit: Makes the module of a unit, ``unit(features, name=...)``, which is called as
            ``module(x, train=..., alone=...)``.
        projection: Makes the module of a projection, ``projection(features, name=...)``. If `dtype`
            and `param_dtype` are given, `unit` and `projection` receive them too.
        drop_path_per: Whether the whole ``batch`` loses the same join inputs, or each ``example``
            its own.
        remat: Whether gradients recompute the inside of units instead of storing it.
    """

    expr: topology.Expr
    features: int
    unit: Callable[..., nn.Module]
    projection: Callable[..., nn.Module] = partial(nn.Dense, use_bias=False)
    drop_path_per: DropPathPer = "batch"
    remat: bool = False

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
            InputError: If there is no such column or no path through it, or two units with the same
                name differ.
        """
        expr = topology.project(self.expr, x.shape[-1], self.features)
        topology.units(expr)  # complains if a name stands for two layers
        if column is not None:
            topology.restrict(expr, column=column)  # complains if nothing is left
        module = cache(self._module)  # tied units are one
        number = count(1)

        def unit(node: topology.Unit, value: _Map) -> _Map:
            if value.x is None or (column is not None and node.column not in (None, column)):
                return _Map(None, self.features)
            if isinstance(node, topology.Projection):
                return _Map(module(node)(value.x), self.features)
            run = lambda module, x: module(x, train=train, alone=column is not None)
            run = nn.remat(run) if self.remat else run
            return _Map(run(module(node), value.x), self.features)

        def join(node: topology.Join, inputs: list[_Map]) -> _Map:
            return self._join(node, f"join{next(number)}", inputs, drop_path)

        end = topology.evaluate(expr, _Map(x, x.shape[-1]), unit=unit, join=join)
        assert end.x is not None
        return end.x

    def _module(self, node: topology.Unit) -> nn.Module:
        make = self.projection if isinstance(node, topology.Projection) else self.unit
        return make(self.features, name=node.name, **self.dtypes)

    def _join(self, node: topology.Join, name: str, inputs: list[_Map], drop_path: float) -> _Map:
        """Joins the maps that are not dead; for `concat`, zeros take the place of the dead."""
        channels = topology.join_channels(node, [i.channels for i in inputs], self.features)
        logits = None
        if node.how == "convex":
            dtype = jnp.float32 if self.param_dtype is None else self.param_dtype
            logits = self.param(name, nn.initializers.zeros_init(), (len(inputs),), dtype)
        live = {i: value.x for i, value in enumerate(inputs) if value.x is not None}
        if not live:
            return _Map(None, channels)
        maps, places = list(live.values()), jnp.array(list(live))
        if node.how == "concat" and len(live) < len(inputs):
            *shape, _ = maps[0].shape
            zeros = [jnp.zeros((*shape, value.channels), maps[0].dtype) for value in inputs]
            return _Map(join("concat", [live.get(i, z) for i, z in enumerate(zeros)]), channels)
        alive = self._alive(name, places, len(maps[0]), drop_path)
        return _Map(
            join(node.how, maps, alive, None if logits is None else logits[places]), channels
        )

    def _alive(self, name: str, places: Array, batch: int, drop_path: float) -> Array | None:
        """The live inputs of a join that stay, from the variables or from a draw."""
        if self.has_variable("drop_path", name):
            return self.get_variable("drop_path", name)[places]
        if drop_path == 0 or len(places) == 1:
            return None
        key = self.make_rng("drop_path")
        draw = lambda key: draw_alive(key, len(places), drop_path)
        if self.drop_path_per == "batch":
            return draw(key)
        return jax.vmap(draw, out_axes=1)(jax.random.split(key, batch))
