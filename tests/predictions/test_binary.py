import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import jfractal as jf

LOGITS = 3 * jax.random.normal(jax.random.key(0), (50, 5, 4))


@pytest.mark.parametrize("event", [(), (1,), (4,)])
def test_probabilities_are_means_of_sigmoids(event):
    logits = LOGITS.reshape(50, 20)[:, :5] if event == () else LOGITS[..., : event[0]]
    prediction = jf.BinaryPrediction.of(logits)
    p = scipy.special.expit(np.asarray(logits, np.float64))
    entropy = lambda p: -(p * np.log(p) + (1 - p) * np.log1p(-p))
    np.testing.assert_allclose(prediction.probs, p.mean(0), rtol=1e-5)
    np.testing.assert_allclose(prediction.log_probs, np.log(p.mean(0)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(prediction.entropy, entropy(p.mean(0)), rtol=1e-4)
    np.testing.assert_allclose(prediction.aleatoric, entropy(p).mean(0), rtol=1e-4)
    np.testing.assert_allclose(
        prediction.epistemic, entropy(p.mean(0)) - entropy(p).mean(0), atol=1e-5
    )
    assert prediction.probs.shape == (5, *event)


def test_one_logit_is_a_softmax_over_two_classes():
    """The same net with logits (0, l): every figure is that of a `Prediction`."""
    logits = LOGITS[..., 0]
    binary = jf.BinaryPrediction.of(logits)
    both = jf.Prediction.of(jax.nn.log_softmax(jnp.stack([jnp.zeros_like(logits), logits], -1)))
    np.testing.assert_allclose(binary.probs, both.probs[:, 1], rtol=1e-5)
    for name in ("entropy", "aleatoric", "epistemic"):
        np.testing.assert_allclose(getattr(binary, name), getattr(both, name), atol=1e-6)


def test_nearly_certain_truth_keeps_its_digits():
    prediction = jf.BinaryPrediction.of(jnp.array([[60.0, -60.0], [62.0, -62.0]]))
    doubt = np.exp([-60.0, -62.0]).mean()
    np.testing.assert_allclose(prediction.log_odds, [-np.log(doubt), np.log(doubt)], rtol=1e-6)


def test_log_prob_is_of_all_labels_of_an_example():
    y = jnp.arange(20).reshape(5, 4) % 3 == 0
    p = scipy.special.expit(np.asarray(LOGITS, np.float64))
    expected = np.log(np.where(y, p, 1 - p).prod(-1).mean(0))
    log_prob = jf.BinaryPrediction.of(LOGITS).log_prob(y)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4)


def test_credible_intervals_are_quantiles_of_the_draws():
    interval = jf.BinaryPrediction.of(LOGITS).credible_interval(0.9)
    p = jax.nn.sigmoid(LOGITS)
    expected = np.quantile(p, [0.05, 0.95], axis=0, method="inverted_cdf")
    np.testing.assert_allclose(jnp.stack(interval), expected, atol=1e-6)


def test_bad_input():
    prediction = jf.BinaryPrediction.of(LOGITS)
    with pytest.raises(jf.InputError, match=r"`y` must have the shape of `log_odds`, \(5, 4\)"):
        prediction.log_prob(jnp.zeros(5))
    single = jf.BinaryPrediction.single(LOGITS[0])
    for name, ask in {
        "samples": lambda: single.samples,
        "credible_interval": single.credible_interval,
        "log_prob": lambda: single.log_prob(jnp.zeros((5, 4))),
    }.items():
        with pytest.raises(jf.InputError, match=f"`{name}` needs the predictions of all draws"):
            ask()
