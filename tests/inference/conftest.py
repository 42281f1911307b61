"""Bayesian linear regression, whose posterior is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal.testing import ConjugateRegression

NOISE, PRIOR = 0.5, 1.5


def flat(params):
    """Weights as (..., 3), in the order b, w1, w2."""
    bias, kernel = (np.asarray(params[name], np.float64) for name in ("bias", "kernel"))
    return np.concatenate([bias, kernel[..., 0]], axis=-1)


@pytest.fixture(scope="session")
def problem():
    key_x, key_y = jax.random.split(jax.random.key(1))
    x = jax.random.normal(key_x, (30, 2)) @ jnp.array([[1.0, 0.6], [0.0, 0.8]])
    y = x @ jnp.array([[1.0], [-2.0]]) + 0.3 + NOISE * jax.random.normal(key_y, (30, 1))
    return ConjugateRegression(x, y, prior_scale=PRIOR, noise_scale=NOISE)
