import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal.posterior import FactorGaussian, Posterior


@pytest.fixture
def q():
    """Two leaves that share two factors, and one that is fixed."""
    mean = {"a": jnp.array([1.0, -1.0]), "b": {"c": jnp.array([[2.0]])}, "d": jnp.ones(3)}
    std = {"a": jnp.array([0.5, 0.0]), "b/c": jnp.array([[0.1]])}
    factors = {"a": jnp.array([[1.0, 2.0], [0.0, 1.0]]), "b/c": jnp.array([[[3.0]], [[-1.0]]])}
    return FactorGaussian(mean, std, factors)


def test_draws_have_its_moments(q):
    """``diag(std²) + Σ_k factor_k factor_kᵀ``, by hand."""
    assert isinstance(q, Posterior)
    n = 40_000
    drawn = jax.jit(jax.vmap(q.sample))(jax.random.split(jax.random.key(0), n))["params"]
    np.testing.assert_array_equal(drawn["d"], np.ones((n, 3)))
    w = np.concatenate([drawn["a"], drawn["b"]["c"][:, :, 0]], axis=1).astype(np.float64)
    exact = np.array([[1.25, 2.0, 3.0], [2.0, 5.0, 5.0], [3.0, 5.0, 10.01]])
    s = np.diag(exact)
    assert np.all(np.abs(w.mean(0) - [1, -1, 2]) < 4 * np.sqrt(s / n))
    error = np.sqrt((np.outer(s, s) + exact**2) / n)
    assert np.all(np.abs(np.cov(w.T) - exact) < 4 * error)


def test_it_crosses_jit(q):
    key = jax.random.key(0)
    drawn = jax.jit(lambda q, key: q.sample(key))(q, key)
    np.testing.assert_allclose(drawn["params"]["a"], q.sample(key)["params"]["a"], rtol=1e-6)
