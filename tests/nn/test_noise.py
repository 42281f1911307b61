import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from jfractal.nn import DenseUnit, LearnedNoise

NET = LearnedNoise(nn.Dense(2))
X = jax.random.normal(jax.random.key(0), (200, 3))


def test_outputs_are_means_and_then_rhos():
    variables = NET.init(jax.random.key(1), X)
    variables["params"]["rho"] = jnp.array([0.5, -2.0])
    outputs = NET.apply(variables, X)
    means = nn.Dense(2).apply({"params": variables["params"]["net"]}, X)
    np.testing.assert_allclose(outputs[:, :2], means, rtol=1e-6)
    np.testing.assert_array_equal(outputs[:, 2:], np.broadcast_to([0.5, -2.0], (200, 2)))
    mean, std = jf.likelihoods.HeteroscedasticGaussian(1e-3).moments(outputs)
    np.testing.assert_allclose(mean, means, rtol=1e-6)
    np.testing.assert_allclose(std[0], np.log1p(np.exp([0.5, -2.0])) + 1e-3, rtol=1e-5)


def test_its_maximum_likelihood_is_the_error_of_least_squares():
    noise = jnp.array([[0.1, 0.7]]) * jax.random.normal(jax.random.key(2), (200, 2))
    y = X @ jnp.ones((3, 2)) + noise
    flat, likelihood = jf.priors.Gaussian(1e4), jf.likelihoods.HeteroscedasticGaussian()
    model = jf.Model(NET.apply, prior=flat, likelihood=likelihood)
    method = jf.maximum_a_posteriori(model, optax.adam(optax.cosine_decay_schedule(0.05, 1500)))
    start = NET.init(jax.random.key(1), X)
    point = jf.fit(method, start, (X, y), jax.random.key(1), num_steps=1500).posterior
    design = np.concatenate([X, np.ones((200, 1))], axis=1)
    _, squares, *_ = np.linalg.lstsq(design, np.asarray(y), rcond=None)
    _, std = likelihood.moments(NET.apply(point.variables, X))
    np.testing.assert_allclose(std[0], np.sqrt(squares / 200), rtol=1e-3)


def test_its_columns_are_those_of_the_net():
    net = LearnedNoise(jf.FractalNet(1, columns=3, widths=(4,), norm="none", unit=DenseUnit))
    variables = net.init(jax.random.key(1), X)
    assert net.columns == (1, 2, 3) and NET.columns == ()
    likelihood = jf.likelihoods.HeteroscedasticGaussian()
    model = jf.fractal_model(
        net, prior=jf.priors.Gaussian(1.0), likelihood=likelihood, routes="two_pass", drop_path=0.0
    )
    y = jnp.ones((200, 1))
    found = model.training_pass(variables, (X, y), jax.random.key(2)).log_likelihood
    along = lambda **options: likelihood.log_likelihood(net.apply(variables, X, **options), y)
    columns = sum(along(column=c) for c in net.columns) / 3
    np.testing.assert_allclose(found, 0.5 * along() + 0.5 * columns, rtol=1e-5)


def test_the_noise_is_a_leaf_of_the_tree():
    params = NET.init(jax.random.key(1), X)["params"]
    q = jf.mean_field(params, scale=0.1)
    assert jf.kl_by_leaf(q, jf.priors.Gaussian(1.0)).keys() == {
        "net/bias",
        "net/kernel",
        "rho",
    }
    with pytest.raises(jf.InputError, match="call `sample"):
        NET.apply({"params": {**params, "rho": q["rho"]}}, X)
