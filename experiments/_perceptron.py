"""The multi-layer perceptron of the experiments that need no convolutions."""

from collections.abc import Callable

import flax.linen as nn
import jax

import jfractal as jf

__all__ = ["Perceptron"]


class Perceptron(nn.Module):
    """Dense layers with an activation between; deterministic when its weights are arrays.

    Attributes:
        hidden: Units of each hidden layer.
        num_outputs: Units of the last, which has no activation.
        activation: Between the layers.
    """

    hidden: tuple[int, ...]
    num_outputs: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps "batch features" to "batch outputs"."""
        for i, units in enumerate(self.hidden, start=1):
            x = self.activation(jf.BayesDense(units, name=f"hidden{i}")(x))
        return jf.BayesDense(self.num_outputs, name="output")(x)
