"""Methods that are right, and methods that are wrong in a known way."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.flatten_util import ravel_pytree


@dataclass(frozen=True)
class Normal:
    """A Gaussian over all weights of a tree."""

    mean: jax.Array
    root: jax.Array
    unravel: Any

    def sample(self, key):
        noise = jax.random.normal(key, self.mean.shape)
        return {"params": self.unravel(self.mean + self.root @ noise)}


def newton(model, start, data, key, *, temperature=1.0, shift=0.0, diagonal=False):
    """The posterior of a quadratic log joint; or tempered, or shifted by standard deviations."""
    flat, unravel = ravel_pytree(jax.tree.map(jnp.zeros_like, start(key)))
    density = lambda w: model.log_joint(unravel(w), data)
    precision = -jax.hessian(density)(flat)
    covariance = jnp.linalg.inv(precision)
    mean = covariance @ jax.grad(density)(flat)
    if diagonal:
        covariance = jnp.diag(1 / jnp.diag(precision))
    mean = mean + shift * jnp.sqrt(jnp.diag(covariance))
    return Normal(mean, jnp.linalg.cholesky(temperature * covariance), unravel)


@pytest.fixture(name="newton")
def _newton():
    return newton
