"""What is done to a net after somebody else has trained it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal.inference.trained import trained


@pytest.fixture(scope="module")
def classifier():
    """Weights of logistic regression that are three times too large, and held-out data."""
    key_x, key_y = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (4000, 3))
    apply = lambda variables, x: x @ variables["params"]["kernel"]
    kernel = jnp.array([[1.0, -1.0, 0.0], [0.5, 0.0, -1.0], [0.0, 2.0, 0.0]])
    y = jax.random.categorical(key_y, x @ kernel)
    return apply, {"kernel": 3 * kernel}, x, y


def test_a_trained_classifier_is_tempered(classifier):
    """The temperature found is the factor by which it is too sure of itself."""
    apply, params, x, y = classifier
    p = jf.predict(apply, jf.Point({"params": params}), x, jax.random.key(0), num_samples=1)
    temperature = jf.metrics.fit_temperature(p.log_probs, y)
    assert float(temperature) == pytest.approx(3, rel=0.1)
    truth = apply({"params": params}, x) / 3
    ours = jf.metrics.tempered(p.log_probs, temperature)
    np.testing.assert_allclose(ours, jax.nn.log_softmax(truth), atol=0.5)


def test_weights_are_taken_as_they_are_found():
    w, statistics = {"kernel": jnp.ones((2, 1))}, {"mean": jnp.zeros(1)}
    assert trained(w, "f") == (w, {})
    assert trained({"params": w, "batch_stats": statistics}, "f")[1] == {"batch_stats": statistics}
    lifted, _ = trained(jf.mean_field(w), "f")
    np.testing.assert_array_equal(lifted["kernel"], w["kernel"])


@pytest.mark.parametrize(
    ("message", "params"),
    [
        (r"`params` of `f` .* Point: call `posterior.mean\(\)`", jf.Point({"params": {}})),
        ("at least one array", {}),
        ("floating-point arrays, got int32 .* at 'w'", {"w": jnp.ones(2, int)}),
    ],
)
def test_what_is_no_trained_net(message, params):
    with pytest.raises(jf.InputError, match=message):
        trained(params, "f")
