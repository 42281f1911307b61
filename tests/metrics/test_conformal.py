from functools import partial

import jax
import numpy as np
import pytest

from jfractal.errors import InputError
from jfractal.metrics import conformal_threshold, prediction_sets


def test_a_threshold_worked_by_hand():
    # Probabilities of the true labels: .9 .8 .7 .6; of five places, four are ⌈5 · 0.75⌉.
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    labels = np.array([0, 1, 0, 1])
    assert conformal_threshold(probs, labels, alpha=0.25) == pytest.approx(0.6)
    assert conformal_threshold(probs, labels, alpha=0.5) == pytest.approx(0.7)
    assert conformal_threshold(probs, labels, alpha=0.1) == 0.0  # four examples cannot tell
    np.testing.assert_array_equal(
        prediction_sets(probs, 0.6), [[True, False], [False, True], [True, False], [False, True]]
    )


def test_it_is_compiled():
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 50).astype(np.float32)
    labels = np.arange(50) % 3
    threshold = partial(conformal_threshold, alpha=0.1)
    assert jax.jit(threshold)(probs, labels) == threshold(probs, labels)


@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_sets_cover_exactly(alpha):
    # Coverage given n held-out examples is Beta distributed with mean ⌈(n + 1)(1 − α)⌉ / (n + 1).
    rng, n, covered = np.random.default_rng(0), 99, []
    for _ in range(400):
        logits = rng.normal(0, 2, (n + 500, 5))
        probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        labels = (probs.cumsum(-1) > rng.random((len(probs), 1))).argmax(-1)
        threshold = conformal_threshold(probs[:n], labels[:n], alpha=alpha)
        sets = np.asarray(prediction_sets(probs[n:], threshold))
        covered.append(sets[np.arange(500), labels[n:]].mean())
    error = np.std(covered) / np.sqrt(len(covered))
    expected = np.ceil((n + 1) * (1 - alpha)) / (n + 1)
    assert abs(np.mean(covered) - expected) < 4 * error


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1])
def test_alpha_is_a_probability(alpha):
    with pytest.raises(InputError, match="`alpha` must be between 0 and 1, got"):
        conformal_threshold(np.ones((2, 1)), np.zeros(2, int), alpha=alpha)
