"""The multi-layer perceptron of the experiments that need no convolutions."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

import jfractal as jf
from experiments._routes import scores
from jfractal.typing import Array, KeyArray, Params


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


def classifier(net: nn.Module, prior_scale: float) -> jf.Model:
    """The model of a classifier with a Gaussian prior."""
    prior, likelihood = jf.priors.Gaussian(prior_scale), jf.likelihoods.Categorical()
    return jf.Model(net.apply, prior=prior, likelihood=likelihood)


def start(net: nn.Module, x: Array) -> Callable[[KeyArray], Params]:
    """A function that draws arrays to start from."""
    return lambda key: jf.mean(net.init(key, x[:1])["params"])


def predict(
    net: nn.Module, posterior: Any, x: Array, key: KeyArray, *, num_samples: int
) -> jf.Prediction:
    """The posterior predictive; one draw is enough of a posterior that is one point."""
    number = 1 if isinstance(posterior, jf.Point) else num_samples
    return jf.predict(net.apply, posterior, x, key, num_samples=number, batch_size=1000)


def test(
    net: nn.Module, posterior: Any, x: Array, y: Any, key: KeyArray, *, num_samples: int
) -> dict[str, float]:
    """Scores of the posterior predictive: accuracy, NLL and ECE."""
    return scores(predict(net, posterior, x, key, num_samples=num_samples), y)
