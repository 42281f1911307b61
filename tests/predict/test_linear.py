import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import jfractal as jf


@pytest.fixture(scope="module")
def fitted():
    """A net of tanh, and Laplace's approximation to its posterior."""
    key_x, key_y = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (20, 2))
    y = jnp.sin(x[:, :1]) + 0.1 * jax.random.normal(key_y, (20, 1))
    net = nn.Sequential([nn.Dense(3), nn.tanh, nn.Dense(1)])
    log_joint = jf.LogJoint(
        net.apply, (x, y), jf.priors.Gaussian(1.0), jf.likelihoods.Gaussian(0.3)
    )
    init = lambda key: net.init(key, x)["params"]
    options = {"optimizer": optax.adam(1e-2), "num_steps": 500}
    return net, jf.laplace(log_joint, init, jax.random.key(1), **options), x


def test_it_is_the_tangent(fitted):
    """The error of a step is of second order: ten times shorter, a hundred times smaller."""
    net, q, x = fitted
    tangent = jf.linearize(net.apply, q.mean)
    direction = jax.tree.map(jnp.ones_like, q.mean)
    np.testing.assert_array_equal(tangent({"params": q.mean}, x), net.apply({"params": q.mean}, x))

    def error(size):
        moved = {"params": jax.tree.map(lambda w, d: w + size * d, q.mean, direction)}
        return jnp.abs(tangent(moved, x) - net.apply(moved, x)).max()

    assert 80 < error(1e-1) / error(1e-2) < 120


def test_moments_of_the_prediction_are_in_closed_form(fitted):
    """Mean f(ŵ, x) and covariance J Σ Jᵀ, within 4 standard errors of 20,000 draws."""
    net, q, x = fitted
    flat, unravel = ravel_pytree(q.mean)
    jacobian = jax.jacobian(lambda w: net.apply({"params": unravel(w)}, x)[:, 0])(flat)
    factors = jax.vmap(lambda factor: ravel_pytree(factor)[0])(q.factors)
    # Factors are named by path, leaves of the tree by nesting: the order is the same.
    variance = jnp.sum((jacobian @ factors.T) ** 2, axis=1)
    tangent = jf.linearize(net.apply, q.mean)
    draws = jf.sample_outputs(tangent, q, x, jax.random.key(2), num_samples=20_000)[..., 0]
    mean = net.apply({"params": q.mean}, x)[:, 0]
    assert (jnp.abs(draws.mean(0) - mean) < 4 * jnp.sqrt(variance / len(draws))).all()
    assert (jnp.abs(draws.var(0) / variance - 1) < 4 * np.sqrt(2 / len(draws))).all()
