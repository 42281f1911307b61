from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

from jfractal.errors import InputError
from jfractal.metrics import accuracy, brier, ece, mce, nll, reliability

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


@pytest.mark.parametrize("score", [accuracy, nll, brier, ece, mce])
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


def test_bins_of_equal_mass_worked_by_hand(run):
    confidence = np.array([0.6, 0.95, 0.7, 0.9, 0.8, 1.0], np.float32)
    probs = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.array([0, 0, 1, 1, 0, 0])
    mass = {"num_bins": 3, "binning": "equal_mass"}
    bins = run(partial(reliability, **mass))(probs, labels)
    np.testing.assert_array_equal(bins.count, [2, 2, 2])
    np.testing.assert_allclose(bins.confidence, [0.65, 0.85, 0.975], rtol=1e-6)
    np.testing.assert_allclose(bins.accuracy, [0.5, 0.5, 1], rtol=1e-6)
    # Gaps of 0.15, 0.35 and 0.025.
    assert run(partial(ece, **mass))(probs, labels) == pytest.approx(0.175, abs=1e-6)
    assert run(partial(mce, **mass))(probs, labels) == pytest.approx(0.35, abs=1e-6)


def test_bins_of_equal_mass_meet_array_split(run, forecast):
    probs, labels = forecast
    order = np.argsort(probs.max(-1))
    correct = (probs.argmax(-1) == labels)[order]
    gaps = [
        len(confidence) / len(labels) * abs(right.mean() - confidence.mean())
        for confidence, right in zip(
            np.array_split(probs.max(-1)[order], 10), np.array_split(correct, 10)
        )
    ]
    mass = {"num_bins": 10, "binning": "equal_mass"}
    assert run(partial(ece, **mass))(probs, labels) == pytest.approx(sum(gaps), abs=1e-6)


def test_the_order_of_ties_does_not_count():
    rng = np.random.default_rng(1)
    confidence = rng.integers(5, 9, 200) / np.float32(8)
    probs, labels = np.stack([confidence, 1 - confidence], 1), rng.integers(0, 2, 200)
    mass = {"num_bins": 15, "binning": "equal_mass"}
    order = rng.permutation(200)
    ours, theirs = (
        reliability(probs, labels, **mass),
        reliability(probs[order], labels[order], **mass),
    )
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    sizes = np.unique(confidence, return_counts=True)[1]
    np.testing.assert_array_equal(ours.count[ours.count > 0], sizes)


def test_mce_is_the_largest_gap(run, forecast):
    bins = reliability(*forecast)
    gaps = np.abs(bins.accuracy - bins.confidence)[bins.count > 0]
    assert run(mce)(*forecast) == pytest.approx(gaps.max(), abs=1e-6)


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


@pytest.mark.parametrize("score", [accuracy, nll, brier, ece, mce, reliability])
def test_shapes_that_do_not_match_are_refused(refused, score):
    probs = jnp.full((3, 2), 0.5)
    probs = jnp.log(probs) if score is nll else probs
    with refused("labels"):
        score(probs, jnp.zeros(4, int))
    with refused("labels"):
        score(probs, jnp.zeros((3, 2), int))
    for empty in (probs[:0], probs[:, :0]):
        with pytest.raises(InputError, match="probs` must have the axes"):
            score(empty, jnp.zeros(len(empty), int))


@pytest.mark.parametrize("score", [accuracy, nll, brier, ece])
@pytest.mark.parametrize("label", [-1, 2])
def test_labels_out_of_range_are_refused(score, label):
    with pytest.raises(
        InputError, match=r"`labels` must be in \[0, 2\), the classes of `(log_)?probs`, got int"
    ):
        probs = jnp.full((3, 2), 0.5)
        score(jnp.log(probs) if score is nll else probs, jnp.array([0, 1, label]))


def test_bins_are_at_least_one():
    with pytest.raises(InputError, match="`num_bins` must be at least 1, got 0"):
        ece(jnp.ones((1, 1)), jnp.zeros(1, int), num_bins=0)
