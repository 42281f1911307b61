"""Bayesian linear regression, whose posterior is known exactly."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jfractal.arguments import as_array, check_finite, check_key, check_positive
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.model import Model
from jfractal.likelihoods import Gaussian as GaussianLikelihood
from jfractal.priors import Gaussian as GaussianPrior
from jfractal.testing.moments import Moments
from jfractal.testing.simulator import Simulator
from jfractal.typing import Array, Float, KeyArray, Params

__all__ = ["ConjugateRegression"]

MOST_DATA = 100_000  # examples or features, of which the moments can be found


@dataclass(frozen=True, eq=False)
class ConjugateRegression:
    """``y = b + xᵀw + σε``, with ``b, w ~ N(0, s²)`` and ε ~ N(0, 1).

    Its weights are those of ``flax.linen.Dense(1)``, flat in the order b, w₁, …, w_k. The exact
    posterior is computed in float64.

    Attributes:
        x: Inputs, "examples features".
        y: Targets, "examples 1".
        prior_scale: s, standard deviation of every weight, above 0.
        noise_scale: σ, standard deviation of the noise, above 0.

    Source: Bishop, "Pattern recognition and machine learning", 2006, §3.3.
    """

    x: Float[Array, "examples features"]
    y: Float[Array, "examples 1"]
    prior_scale: float = 1.5
    noise_scale: float = 0.5

    def __post_init__(self):
        x, y = as_array("x", self.x), as_array("y", self.y)
        if x.ndim != 2 or not x.size:
            raise InputError(f"`x` must have the axes (examples, features), got shape {x.shape}")
        if y.shape != (len(x), 1):
            raise InputError(f"`y` must have the shape {(len(x), 1)} to fit `x`, got {y.shape}")
        for name, value in (("x", x), ("y", y)):
            check_finite(name, value)
            object.__setattr__(self, name, jnp.asarray(value, float))
        check_positive(prior_scale=self.prior_scale, noise_scale=self.noise_scale)

    @classmethod
    def random(
        cls, key: KeyArray, *, num_data: int = 30, num_features: int = 2
    ) -> "ConjugateRegression":
        """Data drawn from the model, with correlated features, so that weights are correlated too.

        Args:
            key: Random key.
            num_data: Number of examples, at least 1.
            num_features: Number of features, at least 1.
        """
        check_key("key", key)
        check_counts(most=MOST_DATA, num_data=num_data, num_features=num_features)
        key_x, key_weights, key_targets = jax.random.split(key, 3)
        own = jax.random.normal(key_x, (num_data, num_features))
        x = own.at[:, 1:].set(0.6 * own[:, :1] + 0.8 * own[:, 1:])
        simulator = cls(x, jnp.zeros((num_data, 1))).simulator
        return cls(x, simulator.targets(simulator.draw_weights(key_weights), key_targets))

    @property
    def net(self) -> nn.Module:
        """The net."""
        return nn.Dense(1)

    @property
    def simulator(self) -> Simulator:
        """The same model, which draws weights and targets for `simulate_ranks`."""
        return Simulator.gaussian(
            self.net, self.x, prior_scale=self.prior_scale, noise_scale=self.noise_scale
        )

    @property
    def model(self) -> Model:
        """The model that a method is given."""
        prior, likelihood = GaussianPrior(self.prior_scale), GaussianLikelihood(self.noise_scale)
        return Model(self.net.apply, prior=prior, likelihood=likelihood)

    @property
    def data(self) -> tuple[Array, Array]:
        """Inputs and targets, ``(x, y)``."""
        return self.x, self.y

    def start(self, key: KeyArray) -> Params:
        """A draw from the prior, far from the posterior."""
        return self.simulator.draw_weights(key)

    @property
    def design(self) -> Float[np.ndarray, "examples weights"]:
        """Φ: a column of ones, then the inputs."""
        return _design(self.x)

    @property
    def precision(self) -> Float[np.ndarray, "weights weights"]:
        """Precision of the posterior, ``ΦᵀΦ / σ² + I / s²``."""
        design = self.design
        return (
            design.T @ design / self.noise_scale**2 + np.eye(design.shape[1]) / self.prior_scale**2
        )

    @property
    def covariance(self) -> Float[np.ndarray, "weights weights"]:
        """Covariance of the posterior."""
        return np.linalg.inv(self.precision)

    @property
    def mean(self) -> Float[np.ndarray, " weights"]:
        """Mean of the posterior, ``Σ Φᵀy / σ²``."""
        return np.linalg.solve(self.precision, self.design.T @ self._targets / self.noise_scale**2)

    @property
    def exact(self) -> Moments:
        """Mean and covariance of the posterior."""
        return Moments(self.mean, self.covariance)

    @property
    def log_evidence(self) -> float:
        """``log p(y | x) = log N(y; 0, σ² I + s² ΦΦᵀ)``, in nats, summed over the examples."""
        of_weights = self.prior_scale**2 * self.design @ self.design.T
        covariance = self.noise_scale**2 * np.eye(len(of_weights)) + of_weights
        squares = self._targets @ np.linalg.solve(covariance, self._targets)
        _, log_determinant = np.linalg.slogdet(2 * np.pi * covariance)
        return float(-0.5 * (squares + log_determinant))

    def predictive(
        self, x: Float[Array, "batch features"]
    ) -> tuple[Float[np.ndarray, " batch"], Float[np.ndarray, " batch"]]:
        """Mean and standard deviation of the target at each of `x`, noise included."""
        design = _design(x)
        of_weights = np.einsum("ni,ij,nj->n", design, self.covariance, design)
        return design @ self.mean, np.sqrt(self.noise_scale**2 + of_weights)

    @property
    def _targets(self) -> Float[np.ndarray, " examples"]:
        return np.asarray(self.y[:, 0], np.float64)


def _design(x: Float[Array, "batch features"]) -> Float[np.ndarray, "batch weights"]:
    ones = np.ones((len(x), 1))
    return np.concatenate([ones, np.asarray(x, np.float64)], axis=1)
