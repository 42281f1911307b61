from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

from jfractal.errors import InputError
from jfractal.metrics import accuracy, brier, ece, nll, reliability

CLASSES = 4


@pytest.fixture
def forecast():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(CLASSES), size=200).astype(np.float32)
    return probs, rng.integers(0, CLASSES, size=200)


def test_proper_scores_meet_scikit_learn(run, forecast):
    probs, labels = forecast
    classes = range(CLASSES)
    assert run(accuracy)(probs, labels) == pytest.approx(accuracy_score(labels, probs.argmax(-1)))
    assert run(nll)(np.log(probs), labels) == pytest.approx(
        log_loss(labels, probs, labels=classes), rel=1e-5
    )
    assert run(brier)(probs, labels) == pytest.approx(
        brier_score_loss(labels, probs, labels=classes), rel=1e-5
    )


@pytest.mark.parametrize("score", [accuracy, nll, brier, ece])
def test_batch_axes_are_averaged_over(score, forecast):
    probs, labels = jnp.asarray(forecast[0]), jnp.asarray(forecast[1])
    score = jax.jit(score)
    folded = score(probs.reshape(10, 20, CLASSES), labels.reshape(10, 20))
    assert folded == pytest.approx(float(score(probs, labels)), rel=1e-6)


def test_certainty():
    sure = jnp.eye(CLASSES)
    right, wrong = jnp.arange(CLASSES), (jnp.arange(CLASSES) + 1) % CLASSES
    assert (accuracy(sure, right), brier(sure, right), ece(sure, right)) == (1, 0, 0)
    assert (accuracy(sure, wrong), brier(sure, wrong), ece(sure, wrong)) == (0, 2, 1)
    assert nll(jnp.log(sure), right) == 0
    assert nll(jnp.log(sure), wrong) == np.inf


def test_reliability_worked_by_hand(run):
    # Confidences 0.6 | 0.7, 0.8 | 0.9, 1 in fifths: 0.6 and 0.8 lie on an edge.
    confidence = np.array([0.6, 0.7, 0.8, 0.9, 1.0], np.float32)
    probs = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.array([0, 1, 0, 1, 0])
    bins = run(partial(reliability, num_bins=5))(probs, labels)
    np.testing.assert_array_equal(bins.count, [0, 0, 1, 2, 2])
    np.testing.assert_allclose(bins.confidence, [0, 0, 0.6, 0.75, 0.95], rtol=1e-6)
    np.testing.assert_allclose(bins.accuracy, [0, 0, 1, 0.5, 0.5], rtol=1e-6)
    # (1 · 0.4 + 2 · 0.25 + 2 · 0.45) / 5
    assert run(partial(ece, num_bins=5))(probs, labels) == pytest.approx(0.36, abs=1e-6)


@pytest.mark.parametrize("num_bins", [1, 10, 15, 49])
def test_an_edge_belongs_to_the_bin_below(num_bins):
    # With one class the confidence is whatever we like, also 0.
    edges = (np.arange(1, num_bins + 1) / num_bins).astype(np.float32)[:, None]
    count = jax.jit(partial(reliability, num_bins=num_bins))
    np.testing.assert_array_equal(count(edges, np.zeros(num_bins, int)).count, np.ones(num_bins))
    lowest = count(np.zeros((1, 1), np.float32), np.zeros(1, int)).count
    np.testing.assert_array_equal(lowest, np.arange(num_bins) == 0)


def test_ece_meets_a_loop_over_bins(run, forecast):
    probs, labels = forecast
    confidence, correct = probs.max(-1), probs.argmax(-1) == labels
    expected = 0.0
    for k in range(15):
        inside = (confidence > k / 15) & (confidence <= (k + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert run(ece)(probs, labels) == pytest.approx(expected, abs=1e-6)


def test_a_million_examples_in_one_bin_do_not_lose_float32_digits():
    n = 1_000_000
    bins = jax.jit(reliability)(np.full((n, 1), 0.99, np.float32), np.zeros(n, int))
    assert bins.confidence[-1] == pytest.approx(0.99, rel=1e-5)
    assert bins.count[-1] == n


@pytest.mark.parametrize("score", [accuracy, nll, brier, ece, reliability])
def test_shapes_that_do_not_match_are_refused(refused, score):
    probs = jnp.full((3, 2), 0.5)
    with refused("labels"):
        score(probs, jnp.zeros(4, int))
    with refused("labels"):
        score(probs, jnp.zeros((3, 2), int))
    for empty in (probs[:0], probs[:, :0]):
        with pytest.raises(InputError, match="at least one example and one class"):
            score(empty, jnp.zeros(len(empty), int))


def test_bins_are_at_least_one():
    with pytest.raises(InputError, match="`num_bins` must be at least 1, got 0"):
        ece(jnp.ones((1, 1)), jnp.zeros(1, int), num_bins=0)
