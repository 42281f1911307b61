"""Everything a training run carries from step to step."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from jfractal.typing import Array, Int, Params, PyTree, Variables

__all__ = ["TrainState"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """A point on a trajectory. With the seed, it determines all that follows.

    Attributes:
        step: Steps taken.
        params: Weights; leaves may be Gaussian.
        variables: The other collections of the model, e.g. ``{"batch_stats": ...}``.
        opt_state: State of the optimiser.
    """

    step: Int[Array, ""]
    params: Params
    variables: Variables
    opt_state: PyTree

    @classmethod
    def create(cls, variables: Variables, optimizer: optax.GradientTransformation) -> "TrainState":
        """The start of a trajectory, from what ``model.init`` returns."""
        rest = {name: value for name, value in variables.items() if name != "params"}
        params = variables["params"]
        return cls(jnp.zeros((), jnp.int32), params, rest, optimizer.init(params))

    @property
    def model(self) -> Variables:
        """Variables as ``model.apply`` takes them."""
        return {"params": self.params, **self.variables}
