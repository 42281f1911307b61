"""The one module that runs an expression; joins and drop-path."""

from collections.abc import Callable, Sequence
from typing import Literal

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
) -> Float[Array, "*shape"]:
    """Joins feature maps: the mean or the sum of those alive, or all side by side.

    The mean is over the survivors and nothing is rescaled. A dropped input is replaced, not
    multiplied, by zero: it passes on neither a NaN nor a gradient.

    Args:
        how: ``mean``, ``sum`` or ``concat``.
        inputs: Feature maps of equal shape (but for the channels of ``concat``).
        alive: One flag for each input, or for each input and example; all live if left out.

    Returns:
        The joined map.
    """
    if alive is not None:
        alive = jnp.expand_dims(alive, range(alive.ndim, inputs[0].ndim + 1))
        inputs = [jnp.where(flag, x, jnp.zeros_like(x)) for flag, x in zip(alive, inputs)]
    if how == "concat":
        return jnp.concatenate(inputs, axis=-1)
    total = sum(inputs[1:], start=inputs[0])
    if how == "sum":
        return total
    count = len(inputs) if alive is None else alive.sum(axis=0)
    return total / jnp.asarray(count, total.dtype)


class Block(nn.Module):
    """Runs a `topology` expression on feature maps.

    Parameters: one submodule for each distinct unit, under the unit's name, so that every
    sub-architecture shares them. Rng stream: ``drop_path``, if the rate is above 0.

    Attributes:
        expr: The expression.
        unit: Makes the module of a unit, ``unit(name=...)``, called as ``module(x, **kwargs)``.
        drop_path_per: Whether all of a ``batch`` loses the same join inputs, or each ``example``
            its own.
    """

    expr: topology.Expr
    unit: Callable[..., nn.Module]
    drop_path_per: DropPathPer = "batch"

    @nn.compact
    def __call__(
        self, x: Array, *, train: bool, column: int | None = None, drop_path: float = 0.0
    ) -> Array:
        """Runs the whole expression, or one column of it alone.

        Args:
            x: Feature maps, "batch height width channels".
            train: Whether the units train (batch statistics, dropout).
            column: Run this column only; nothing else is computed.
            drop_path: Probability of dropping a join input (local drop-path).

        Returns:
            The feature maps at the end of the expression.
        """
        expr = self.expr if column is None else topology.restrict(self.expr, column=column)
        modules = {name: self.unit(name=name) for name in topology.units(self.expr)}

        def run_unit(node: topology.Unit, x: Array) -> Array:
            return modules[node.name](x, train=train, alone=column is not None)

        def run_join(node: topology.Join, inputs: list[Array]) -> Array:
            if drop_path == 0:
                return join(node.how, inputs)
            key = self.make_rng("drop_path")
            if self.drop_path_per == "batch":
                alive = draw_alive(key, len(inputs), drop_path)
            else:
                draw = jax.vmap(lambda key: draw_alive(key, len(inputs), drop_path), out_axes=1)
                alive = draw(jax.random.split(key, len(x)))
            return join(node.how, inputs, alive)

        return topology.evaluate(expr, x, unit=run_unit, join=run_join)
