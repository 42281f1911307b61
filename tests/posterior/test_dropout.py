from itertools import product

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal.posterior import Dropout, Posterior


@pytest.fixture
def q():
    params = {"layer": {"kernel": jnp.array([[1.0, 2.0], [3.0, -4.0]]), "bias": jnp.ones(2)}}
    return Dropout(params, {"layer/kernel": 0.25})


def draws(q, n):
    return jax.jit(jax.vmap(q.sample))(jax.random.split(jax.random.key(0), n))["params"]


def test_rows_are_there_or_not(q):
    assert isinstance(q, Posterior)
    n = 10_000
    drawn = draws(q, n)["layer"]
    np.testing.assert_array_equal(drawn["bias"], np.ones((n, 2)))
    kept = np.asarray(drawn["kernel"][:, :, 0] != 0)
    exact = np.where(kept[..., None], q.params["layer"]["kernel"] / 0.75, 0)
    np.testing.assert_allclose(drawn["kernel"], exact, rtol=1e-6)
    for mask in product([True, False], repeat=2):
        share = np.all(kept == mask, axis=1).mean()
        p = np.prod(np.where(mask, 0.75, 0.25))
        assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / n)


def test_predictive_moments(q):
    """Mean ``x w + b``, variance ``rate / (1 − rate) Σ_i x_i² w_i²``."""
    n, x = 40_000, np.array([0.5, -1.0])
    layer = draws(q, n)["layer"]
    y = np.asarray(jnp.einsum("i,nio->no", x, layer["kernel"]) + layer["bias"])
    w = np.asarray(q.params["layer"]["kernel"])
    variance = 0.25 / 0.75 * (x**2 @ w**2)
    error = np.sqrt(variance / n)
    assert np.all(np.abs(y.mean(0) - (x @ w + 1)) < 4 * error)
    spread = np.square(y - y.mean(0))
    assert np.all(np.abs(spread.mean(0) - variance) < 4 * spread.std(0) / np.sqrt(n))


def test_a_convolution_drops_channels():
    """As a channel of its input that is zero."""
    net = nn.Conv(3, (2, 2))
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 5))
    params = net.init(jax.random.key(1), x)["params"]
    drawn = Dropout(params, {"kernel": 0.5}).sample(jax.random.key(2))
    kept = np.asarray((drawn["params"]["kernel"] != 0).any((0, 1, 3)))
    assert 0 < kept.sum() < 5
    masked = net.apply({"params": params}, np.asarray(x) * kept / 0.5)
    np.testing.assert_allclose(net.apply(drawn, x), masked, atol=1e-5)


def test_it_crosses_jit(q):
    key = jax.random.key(0)
    drawn = jax.jit(lambda q, key: q.sample(key))(q, key)
    np.testing.assert_array_equal(
        drawn["params"]["layer"]["kernel"], q.sample(key)["params"]["layer"]["kernel"]
    )
