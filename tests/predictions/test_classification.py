import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf


@pytest.fixture(scope="module")
def log_probs():
    return jax.nn.log_softmax(2 * jax.random.normal(jax.random.key(0), (50, 11, 3)))


def test_predictive_is_the_mean_probability(log_probs):
    prediction = jf.Prediction.of(log_probs)
    probs = np.exp(np.asarray(log_probs, np.float64))
    np.testing.assert_allclose(prediction.probs, probs.mean(0), rtol=1e-5)
    np.testing.assert_allclose(prediction.log_probs, np.log(probs.mean(0)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(prediction.samples, log_probs)


def test_entropy_splits_into_aleatoric_and_epistemic(log_probs):
    prediction = jf.Prediction.of(log_probs)
    probs = np.exp(np.asarray(log_probs, np.float64))
    entropy = lambda p: -(p * np.log(p)).sum(-1)
    np.testing.assert_allclose(prediction.entropy, entropy(probs.mean(0)), rtol=1e-5)
    np.testing.assert_allclose(prediction.aleatoric, entropy(probs).mean(0), rtol=1e-5)
    np.testing.assert_allclose(
        prediction.entropy, prediction.aleatoric + prediction.epistemic, atol=1e-6
    )
    assert (prediction.epistemic > 0).all()


def test_credible_intervals_are_quantiles_of_the_draws(log_probs):
    prediction = jf.Prediction.of(log_probs)
    interval = prediction.credible_interval(0.9)
    expected = np.quantile(jnp.exp(log_probs), [0.05, 0.95], axis=0, method="inverted_cdf")
    np.testing.assert_allclose(jnp.stack(interval), expected, atol=1e-6)
    # A mixture's shares are those of its draws.
    doubled = jf.mixture([prediction, prediction], jnp.log(jnp.array([0.5, 0.5])))
    np.testing.assert_allclose(doubled.credible_interval(0.9), interval, atol=1e-6)


def test_joint_log_prob_is_of_the_batch_as_a_whole(log_probs):
    labels = jnp.arange(11) % 3
    probs = np.exp(np.asarray(log_probs, np.float64))
    expected = np.log(probs[:, np.arange(11), labels].prod(1).mean())
    joint = jf.Prediction.of(log_probs).joint_log_prob(labels)
    np.testing.assert_allclose(joint, expected, rtol=1e-4)


def test_impossible_classes_have_no_entropy():
    sure = jf.Prediction.of(jnp.array([[[0.0, -jnp.inf]]]))
    assert (sure.entropy, sure.aleatoric, sure.epistemic) == (0, 0, 0)


def test_without_draws_what_needs_them_is_refused(log_probs):
    bare = jf.Prediction.single(log_probs[0])
    for name, ask in {
        "samples": lambda: bare.samples,
        "credible_interval": bare.credible_interval,
        "joint_log_prob": lambda: bare.joint_log_prob(jnp.zeros(11, int)),
    }.items():
        with pytest.raises(
            jf.InputError, match=f"`{name}` needs the predictions of all .*keep_samples"
        ):
            ask()
