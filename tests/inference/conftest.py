"""Bayesian linear regression, whose posterior is known."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf

NOISE, PRIOR = 0.5, 1.5


@dataclass(frozen=True)
class Problem:
    """Model and data, and the exact posterior of (b, w1, w2), the order of `ravel_pytree`."""

    net: nn.Module
    x: jax.Array
    y: jax.Array
    design: np.ndarray
    mean: np.ndarray
    precision: np.ndarray

    @property
    def log_joint(self):
        return self.log_joint_of((self.x, self.y))

    @property
    def covariance(self):
        return np.linalg.inv(self.precision)

    def log_joint_of(self, data: Any):
        """The same model on other data."""
        prior, likelihood = jf.priors.Gaussian(PRIOR), jf.likelihoods.Gaussian(NOISE)
        return jf.LogJoint(self.net.apply, data, prior, likelihood)

    def init(self, key):
        """A start that is far from the posterior."""
        params = self.net.init(key, self.x)["params"]
        return jax.tree.map(lambda w: jax.random.normal(key, w.shape), params)


def flat(params):
    """Weights as (..., 3), in the order b, w1, w2."""
    bias, kernel = (np.asarray(params[name], np.float64) for name in ("bias", "kernel"))
    return np.concatenate([bias, kernel[..., 0]], axis=-1)


@pytest.fixture(scope="session")
def problem():
    key_x, key_y = jax.random.split(jax.random.key(1))
    x = jax.random.normal(key_x, (30, 2)) @ jnp.array([[1.0, 0.6], [0.0, 0.8]])
    y = x @ jnp.array([[1.0], [-2.0]]) + 0.3 + NOISE * jax.random.normal(key_y, (30, 1))
    design = np.concatenate([np.ones((30, 1)), x], axis=1).astype(np.float64)
    precision = design.T @ design / NOISE**2 + np.eye(3) / PRIOR**2
    mean = np.linalg.solve(precision, design.T @ np.asarray(y[:, 0], np.float64) / NOISE**2)
    return Problem(nn.Dense(1), x, y, design, mean, precision)
