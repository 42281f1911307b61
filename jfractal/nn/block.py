"""The one module that runs an expression."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jfractal import topology
from jfractal.nn.joins import draw_alive, join
from jfractal.nn.loops import places, stack, unstack
from jfractal.nn.units import Unit
from jfractal.typing import Array, KeyArray

__all__ = ["Block", "DropPathPer"]

DropPathPer = Literal["batch", "example"]


class _Map(NamedTuple):
    """Feature maps, None if every path to them is dead, and the number of their channels."""

    x: Array | None
    channels: int


class _Call(NamedTuple):
    """How a block runs this time.

    Attributes:
        train: Whether the units train.
        column: The column that runs alone.
        drop_path: Probability of dropping a join input.
        alive: Which inputs of a join stay, by its name, where that is not left to a draw.
        key: Makes the random key that joins draw with.
        streams: Random keys of units in loops, by rng stream.
    """

    train: bool
    column: int | None
    drop_path: float
    alive: Mapping[str, Array]
    key: Callable[[], KeyArray]
    streams: Callable[[], dict[str, KeyArray]]

    @property
    def options(self) -> dict[str, Any]:
        """What a unit is told."""
        return {"train": self.train, "alone": self.column is not None}


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
        loops: Whether chains of alike parts are compiled as loops, see `topology.roll`: a program
            of at most C(C + 1)/2 units in place of 2^C − 1, but not sooner compiled on CPU. Joins
            drop the same; units that draw, draw otherwise. With ``concat`` or ``convex`` joins
            nothing is a loop.
        remat: Whether gradients compute units again, instead of keeping what is within them.
    """

    expr: topology.Expr
    features: int
    unit: Callable[..., nn.Module]
    projection: Callable[..., nn.Module] = partial(nn.Dense, use_bias=False)
    drop_path_per: DropPathPer = "batch"
    loops: bool = False
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
            InputError: If there is no such column, no path through it, or units of one name differ.
        """
        expr = topology.project(self.expr, x.shape[-1], self.features)
        topology.units(expr)  # complains if a name stands for two layers
        lone = expr if column is None else topology.restrict(expr, column=column)  # complains, too
        alive = self.variables.get("drop_path", {})
        has_gaps = {"concat", "convex"} & set(topology.join_kinds(expr))
        if self.loops and not (self.is_initializing() or has_gaps or alive):
            expr = topology.roll(lone, x.shape[-1], self.features)
        key = cache(lambda: self.make_rng("drop_path"))
        call = _Call(train, column, drop_path, alive, key, cache(self._streams))
        walk = _Walk(self, call, topology.siblings(expr))
        (end,) = walk.ends(expr, _Map(x, x.shape[-1]))
        for name, names in places(expr).items():
            for collection, tree in walk.updates.get(name, {}).items():
                for unit, value in unstack(tree, names).items():
                    self.put_variable(collection, unit, value)
        assert end.x is not None
        return end.x

    def _module(self, node: topology.Unit) -> nn.Module:
        make = self.projection if isinstance(node, topology.Projection) else self.unit
        return make(self.features, name=node.name)

    def _merged(self, names: Sequence[str], x: Array) -> dict[str, Array]:
        """The linear parts of units that read one map, by name, if they are run as one."""
        unit: Any = self.unit(self.features, parent=None)
        if len(names) < 2 or self.is_initializing() or not isinstance(unit, Unit):
            return {}
        parts = unit.merged([self.variables["params"][name] for name in names], x)
        return dict(zip(names, parts)) if parts is not None else {}

    def _stacked(self, node: topology.Loop) -> Mapping[str, Any] | None:
        """The variables of a loop's units side by side, and their numbers; None if they differ."""
        numbers = {name: i for i, name in enumerate(topology.units(self.expr))}

        def variables(name: str) -> Any:
            own = {c: tree[name] for c, tree in self.variables.items() if name in tree}
            return own, jnp.asarray(numbers[name])

        stacked = {name: stack(variables, names) for name, names in places(node).items()}
        return None if any(tree is None for tree in stacked.values()) else stacked

    def _apply(self, call: _Call, given: Any, x: Array) -> tuple[Array, Any]:
        """Runs a unit of a loop with the variables of this turn; returns those that change, too."""
        unit: Any = self.unit(self.features, parent=None)
        mutable = [c for c in given[0] if c != "params" and self.is_mutable_collection(c)]

        def run(given: Any, x: Array) -> tuple[Array, Any]:
            variables, number = given
            rngs = {name: jax.random.fold_in(k, number) for name, k in call.streams().items()}
            return unit.apply(variables, x, **call.options, rngs=rngs, mutable=mutable)

        return (jax.checkpoint(run) if self.remat else run)(given, x)

    def _streams(self) -> dict[str, KeyArray]:
        assert self.scope is not None
        names = set(self.scope.rngs) - {"params", "drop_path"}
        return {name: self.make_rng(name) for name in sorted(names)}

    def _join(self, call: _Call, number: Any, node: topology.Join, inputs: list[_Map]) -> _Map:
        """Joins the maps that are not dead; of `concat`, the dead keep their place as zeros."""
        channels = topology.join_channels(node, [i.channels for i in inputs], self.features)
        logits = None
        if node.how == "convex":
            logits = self.param(f"join{number}", nn.initializers.zeros_init(), (len(inputs),))
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
        alive = self._alive(call, number, list(live), len(maps[0]))
        logits = logits if logits is None else logits[jnp.array(list(live))]
        return _Map(join(node.how, maps, alive, logits), channels)

    def _alive(self, call: _Call, number: Any, live: list[int], batch: int) -> Array | None:
        """Which live inputs of a join stay: as the variables say, else by a draw."""
        if call.alive and (name := f"join{number}") in call.alive:
            return call.alive[name][jnp.array(live)]
        if call.drop_path == 0 or len(live) == 1:
            return None
        key = jax.random.fold_in(call.key(), number)
        if self.drop_path_per == "batch":
            return draw_alive(key, len(live), call.drop_path)
        draw = jax.vmap(lambda key: draw_alive(key, len(live), call.drop_path), out_axes=1)
        return draw(jax.random.split(key, batch))


class _Walk:
    """One way through an expression, or through the body of a loop.

    Attributes:
        updates: The variables of units in loops that have changed, by unit.
    """

    def __init__(
        self,
        block: Block,
        call: _Call,
        siblings: Mapping[str, Sequence[str]],
        given: Mapping[str, Any] | None = None,
        first_join: Any = 1,
    ):
        """Begins.

        Args:
            block: Whose expression it is.
            call: How it runs.
            siblings: Units that read the same map, see `topology.siblings`.
            given: In a loop, the variables of its units by name.
            first_join: Number of the first join.
        """
        self.block, self.call, self.siblings, self.given = block, call, siblings, given
        self.next_join = first_join
        self.linear: dict[str, Array] = {}  # what linear parts returned that ran as one
        self.updates: dict[str, Any] = {}
        self.module = cache(block._module)

    def ends(self, expr: topology.Expr, start: _Map, how: topology.How | None = None) -> list[_Map]:
        """Goes, see `topology.ends`."""
        return topology.ends(expr, start, how, unit=self.unit, join=self.join, loop=self.loop)

    def unit(self, node: topology.Unit, value: _Map) -> _Map:
        """Runs a unit or a projection, if the way to it is not dead."""
        features, column = self.block.features, self.call.column
        if value.x is None or (column is not None and node.column not in (None, column)):
            return _Map(None, features)
        if self.given is not None:
            y, self.updates[node.name] = self.block._apply(
                self.call, self.given[node.name], value.x
            )
        elif isinstance(node, topology.Projection):
            y = self.module(node)(value.x)
        else:
            y = self._own_unit(node, value.x)
        return _Map(y, features)

    def _own_unit(self, node: topology.Unit, x: Array) -> Array:
        """A unit outside of loops: a submodule of the block."""
        remat, options = self.block.remat, self.call.options
        if node.name not in self.linear and self.call.column is None and not remat:
            self.linear |= self.block._merged(self.siblings.get(node.name, ()), x)
        if node.name in self.linear:
            options["linear"] = self.linear[node.name]
        run = lambda module, x: module(x, **options)
        return (nn.remat(run) if remat else run)(self.module(node), x)

    def join(self, node: topology.Join, inputs: list[_Map]) -> _Map:
        """Joins."""
        self.next_join = self.next_join + 1
        return self.block._join(self.call, self.next_join - 1, node, inputs)

    def loop(self, node: topology.Loop, value: _Map, how: topology.How | None) -> list[_Map]:
        """Runs the first part in a loop, with the variables of each part in turn."""
        stacked = self.block._stacked(node) if self.given is None else self.given
        if stacked is None:
            return self.ends(topology.Seq(node.parts), value, how)
        body, call, start = node.parts[0], self.call, self.next_join
        joins_each = len(topology.join_sizes(body))
        last = _last_join(body)
        opened = last if last is not None and last.how == how else None
        if joins_each and call.drop_path:
            call.key()  # is made outside of the loop
        call.streams()

        def step(x: Array, turn: tuple[Array, Mapping[str, Any]]) -> Any:
            i, variables = turn
            first = start + i * joins_each
            walk = _Walk(self.block, call, self.siblings, variables, first)
            whole, *_ = ends = walk.ends(body, _Map(x, value.channels), how)
            if opened is not None:  # its inputs are for the join behind the loop, in the end
                whole = self.block._join(call, first + joins_each - 1, opened, ends)
            return whole.x, ([end.x for end in ends], walk.updates)

        turns = jnp.arange(len(node.parts)), {name: stacked[name] for name in places(body)}
        assert value.x is not None
        _, (ends, updates) = jax.lax.scan(step, value.x, turns)
        self.updates |= updates
        self.next_join = start + joins_each * len(node.parts) - (opened is not None)
        return [_Map(end[-1], self.block.features) for end in ends]


def _last_join(expr: topology.Expr) -> topology.Join | None:
    """The join that an expression ends with, if it does."""
    match expr:
        case topology.Join():
            return expr
        case topology.Seq(parts) if parts:
            return _last_join(parts[-1])
        case _:
            return None
