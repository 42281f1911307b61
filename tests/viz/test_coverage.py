import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal.viz import accuracy_coverage

LOG_PROBS = jnp.log(jnp.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.45, 0.55]]))
LABELS = np.array([0, 1, 1, 1])  # from the most certain to the least: right, right, wrong, right


def test_the_line_is_the_accuracy_on_the_most_certain():
    figure = accuracy_coverage(jf.Prediction.single(LOG_PROBS), LABELS)
    (line,) = figure.axes[0].lines
    np.testing.assert_allclose(line.get_xdata(), [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(line.get_ydata(), [1, 1, 2 / 3, 3 / 4], rtol=1e-6)


def test_the_area_above_it_is_the_risk_over_coverage():
    log_probs = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (200, 3)))
    labels = jax.random.randint(jax.random.key(1), (200,), 0, 3)
    prediction = jf.Prediction.single(log_probs)
    (line,) = accuracy_coverage({"net": prediction}, labels).axes[0].lines
    aurc = jf.metrics.aurc(prediction.entropy, log_probs.argmax(-1) == labels)
    assert 1 - line.get_ydata().mean() == pytest.approx(float(aurc), abs=1e-5)


def test_a_line_for_each_by_name(collisions):
    one = jf.Prediction.single(LOG_PROBS)
    figure = accuracy_coverage({"whole net": one, "column 1": one}, LABELS)
    assert [text.get_text() for text in figure.axes[0].texts] == ["whole net", "column 1"]
    assert not collisions(figure, figure.axes[0].texts)


def test_bad_inputs():
    one = jf.Prediction.single(LOG_PROBS)
    with pytest.raises(jf.InputError, match=r"`predictions` must be a `jf.Prediction`"):
        accuracy_coverage({"net": LOG_PROBS}, LABELS)  # pyright: ignore
    with pytest.raises(jf.InputError, match="`labels`"):
        accuracy_coverage(one, LABELS + 1)
    with pytest.raises(jf.InputError, match="must hold from 1"):
        accuracy_coverage({}, LABELS)
