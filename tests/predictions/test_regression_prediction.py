import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import jfractal as jf

MEANS, RHOS = jax.random.normal(jax.random.key(0), (2, 20, 6, 2))
SCALES = jnp.exp(RHOS)
MEAN, SCALE = np.array([5.0, -1.0]), np.array([10.0, 0.5])


@pytest.mark.parametrize("standardised", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_it_is_the_mixture(standardised, weighted):
    weights = np.arange(1, 21) / 210 if weighted else np.full(20, 1 / 20)
    prediction = jf.RegressionPrediction.of(
        MEANS, SCALES, log_weights=jnp.log(weights) if weighted else None
    )
    means, scales = np.asarray(MEANS, np.float64), np.asarray(SCALES, np.float64)
    if standardised:
        prediction = prediction.in_original_units(MEAN, SCALE)
        means, scales = means * SCALE + MEAN, scales * SCALE
    average = lambda a: np.average(a, axis=0, weights=weights)
    np.testing.assert_allclose(prediction.means, means, rtol=1e-4)
    np.testing.assert_allclose(prediction.scales, scales, rtol=1e-4)
    np.testing.assert_allclose(prediction.mean, average(means), rtol=1e-4)
    np.testing.assert_allclose(prediction.aleatoric, average(scales**2), rtol=1e-4)
    np.testing.assert_allclose(prediction.epistemic, average((means - average(means)) ** 2), 1e-4)
    np.testing.assert_allclose(
        prediction.std**2, prediction.aleatoric + prediction.epistemic, rtol=1e-5
    )
    y = average(means) + 0.3
    joint = scipy.stats.norm.logpdf(y, means, scales).sum(-1)  # both values of a target at once
    expected = scipy.special.logsumexp(joint, axis=0, b=weights[:, None])
    log_prob = jax.jit(lambda p, y: p.log_prob(y))(prediction, jnp.asarray(y, jnp.float32))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4)
    interval = prediction.credible_interval(0.9)
    inside = [average(scipy.stats.norm.cdf(b, means, scales)) for b in interval]
    np.testing.assert_allclose(inside, np.broadcast_to([[[0.05]], [[0.95]]], (2, 6, 2)), atol=1e-4)


def test_units_change_the_density_by_their_scale():
    plain = jf.RegressionPrediction.of(MEANS[..., :1], SCALES[..., :1])
    scaled = plain.in_original_units(3.0, 10.0)
    y = jnp.ones((6, 1))
    np.testing.assert_allclose(
        scaled.log_prob(10 * y + 3), plain.log_prob(y) - np.log(10), rtol=1e-4
    )


def test_one_target_is_scored_as_by_the_metric():
    prediction = jf.RegressionPrediction.of(MEANS, SCALES)
    y = jnp.ones((6, 2))
    metric = jf.metrics.gaussian_mixture_log_prob(y, prediction.means, prediction.scales)
    one = jf.RegressionPrediction.of(MEANS[..., :1], SCALES[..., :1])
    np.testing.assert_allclose(one.log_prob(y[:, :1]), metric[:, 0], rtol=1e-5)


def test_units_of_a_prediction_without_draws():
    bare = jf.RegressionPrediction.single(MEANS[0], SCALES[0]).in_original_units(MEAN, SCALE)
    np.testing.assert_allclose(bare.mean, np.asarray(MEANS[0]) * SCALE + MEAN, rtol=1e-5)
    np.testing.assert_allclose(bare.std, np.asarray(SCALES[0]) * SCALE, rtol=1e-5)


def test_bad_input():
    prediction = jf.RegressionPrediction.of(MEANS, SCALES)
    with pytest.raises(jf.InputError, match=r"`y` must have shape \(6, 2\), got \(6,\)"):
        prediction.log_prob(jnp.zeros(6))
    with pytest.raises(jf.InputError, match=r"`target_mean` must be a number .* got shape \(6,\)"):
        prediction.in_original_units(jnp.zeros(6), 1.0)
    with pytest.raises(jf.InputError, match=r"`target_scale` must be above 0, got 0"):
        prediction.in_original_units(1.0, 0.0)
    single = jf.RegressionPrediction.single(MEANS[0], SCALES[0])
    for name, ask in {
        "means": lambda: single.means,
        "scales": lambda: single.scales,
        "log_prob": lambda: single.log_prob(MEANS[0]),
        "credible_interval": single.credible_interval,
    }.items():
        with pytest.raises(jf.InputError, match=f"`{name}` needs the predictions of all draws"):
            ask()
