import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jfractal as jf

X = jax.random.normal(jax.random.key(0), (6, 3))
KEY = jax.random.key(2)
MEAN, SCALE = np.array([5.0, -1.0]), np.array([10.0, 0.5])


def setup(outputs):
    net = nn.Dense(outputs)
    params = net.init(jax.random.key(1), X)["params"]
    return net, jf.MeanField(jf.mean_field(params, scale=0.3))


@pytest.mark.parametrize("likelihood", ["Gaussian", "HeteroscedasticGaussian"])
def test_it_is_the_mixture_in_original_units(likelihood):
    if likelihood == "Gaussian":
        likelihood = jf.likelihoods.Gaussian(0.4)
        net, posterior = setup(2)
    else:
        likelihood = jf.likelihoods.HeteroscedasticGaussian()
        net, posterior = setup(4)
    options = {"likelihood": likelihood, "num_samples": 20}
    prediction = jf.predict_regression(
        net.apply, posterior, X, KEY, target_mean=MEAN, target_scale=SCALE, **options
    )
    outputs = jf.sample_outputs(net.apply, posterior, X, KEY, num_samples=20)
    means, scales = (np.asarray(m, np.float64) for m in likelihood.moments(outputs))
    means, scales = means * SCALE + MEAN, scales * SCALE
    np.testing.assert_allclose(prediction.mean, means.mean(0), rtol=1e-4)
    np.testing.assert_allclose(prediction.aleatoric, (scales**2).mean(0), rtol=1e-4)
    np.testing.assert_allclose(prediction.epistemic, means.var(0), rtol=1e-4)
    np.testing.assert_allclose(
        prediction.std**2, prediction.aleatoric + prediction.epistemic, rtol=1e-5
    )
    y = means.mean(0) + 0.3
    joint = scipy.stats.norm.logpdf(y, means, scales).sum(-1)  # both values of a target at once
    expected = scipy.special.logsumexp(joint, axis=0) - np.log(20)
    log_prob = jax.jit(lambda p, y: p.log_prob(y))(prediction, jnp.asarray(y, jnp.float32))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4)
    interval = prediction.credible_interval(0.9)
    inside = [scipy.stats.norm.cdf(b, means, scales).mean(0) for b in interval]
    np.testing.assert_allclose(inside, np.broadcast_to([[[0.05]], [[0.95]]], (2, 6, 2)), atol=1e-4)


def test_units_change_the_density_by_their_scale():
    net, posterior = setup(1)
    options = {"likelihood": jf.likelihoods.Gaussian(0.4), "num_samples": 8}
    plain = jf.predict_regression(net.apply, posterior, X, KEY, **options)
    scaled = jf.predict_regression(
        net.apply, posterior, X, KEY, target_mean=3.0, target_scale=10.0, **options
    )
    y = jnp.ones((6, 1))
    np.testing.assert_allclose(
        scaled.log_prob(10 * y + 3), plain.log_prob(y) - np.log(10), rtol=1e-4
    )


def test_one_target_is_scored_as_by_the_metric():
    net, posterior = setup(1)
    prediction = jf.predict_regression(
        net.apply, posterior, X, KEY, likelihood=jf.likelihoods.Gaussian(0.4)
    )
    y = jnp.ones((6, 1))
    metric = jf.metrics.gaussian_mixture_log_prob(y, prediction.means, prediction.scales)
    np.testing.assert_allclose(prediction.log_prob(y), metric[:, 0], rtol=1e-5)


def test_bad_input():
    net, posterior = setup(3)
    noisy = jf.likelihoods.HeteroscedasticGaussian()
    with pytest.raises(jf.InputError, match="an even number, got shape"):
        jf.predict_regression(net.apply, posterior, X, KEY, likelihood=noisy)
    with pytest.raises(jf.InputError, match="`num_samples`"):
        jf.predict_regression(
            net.apply, posterior, X, KEY, likelihood=jf.likelihoods.Gaussian(1.0), num_samples=0
        )
    prediction = jf.predict_regression(
        net.apply, posterior, X, KEY, likelihood=jf.likelihoods.Gaussian(1.0)
    )
    with pytest.raises(jf.InputError, match=r"`y` must have shape \(6, 3\), got \(6,\)"):
        prediction.log_prob(jnp.zeros(6))
