from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.special import rel_entr

from jfractal.metrics import (
    accuracy,
    agreement,
    ceiling,
    compare,
    ece,
    nll,
    symmetric_kl,
    total_variation,
    wasserstein,
)

P = jnp.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
Q = jnp.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]])


class Prediction(NamedTuple):
    probs: jax.Array


def test_worked_by_hand(run):
    assert run(agreement)(P, Q) == 0.5
    # ½ (0.2 + 0.1 + 0.1) and ½ (0.5 + 0.5 + 0), averaged
    assert run(total_variation)(P, Q) == pytest.approx(0.35)
    divergences = rel_entr(P, Q).sum(axis=1) + rel_entr(Q, P).sum(axis=1)
    assert run(symmetric_kl)(P, Q) == pytest.approx(divergences.mean() / 2, rel=1e-6)


def test_bounds():
    assert jax.jit(agreement)(P, P) == 1
    assert jax.jit(total_variation)(P, P) == 0
    certain = jnp.eye(3)
    assert jax.jit(agreement)(certain, certain[::-1]) == pytest.approx(1 / 3)
    assert jax.jit(total_variation)(certain, certain[::-1]) == pytest.approx(2 / 3)


def test_zero_probabilities_count_as_the_smallest_number(run):
    certain = jnp.eye(3, dtype=jnp.float32)
    assert run(symmetric_kl)(certain, certain) == 0
    smallest = float(jnp.finfo(jnp.float32).tiny)
    # ½ (1 · log(1 / tiny) + 1 · log(1 / tiny)) at two of three examples.
    expected = -2 / 3 * np.log(smallest)
    assert run(symmetric_kl)(certain, certain[::-1]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("metric", [agreement, total_variation, symmetric_kl])
def test_predictions_stand_for_their_probabilities(run, metric):
    expected = metric(P, Q)
    assert run(metric)(Prediction(P), Prediction(Q)) == expected
    assert run(metric)(P, Prediction(Q)) == expected
    assert run(metric)(np.asarray(P), np.asarray(Q)) == expected


def test_wasserstein_is_the_cost_of_the_best_assignment(run):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)), rng.gamma(2.0, size=(20, 3))
    expected = []
    for a, b in zip(x.T, y.T):
        cost = (a[:, None] - b[None, :]) ** 2
        expected.append(np.sqrt(cost[linear_sum_assignment(cost)].mean()))
    np.testing.assert_allclose(run(wasserstein)(x, y), expected, rtol=1e-5)


def test_wasserstein_of_normals_is_closed_form(getkey):
    # W₂² = (μ₁ - μ₂)² + (σ₁ - σ₂)²
    x = jax.random.normal(getkey(), (20_000,))
    y = 3 + 5 * jax.random.normal(getkey(), (20_000,))
    assert jax.jit(wasserstein)(x, y) == pytest.approx(5, rel=0.02)


def test_shapes_that_differ_are_refused(refused):
    for metric in (agreement, total_variation, symmetric_kl):
        with refused("q"):
            metric(P, Q[:1])
        with refused("q"):
            metric(Prediction(P), Prediction(Q[:1]))
        with refused("p"):
            metric(P[:0], Q[:0])
    with refused("y"):
        wasserstein(jnp.zeros((5, 2)), jnp.zeros((4, 2)))
    with refused("x"):
        wasserstein(jnp.zeros(0), jnp.zeros(0))


def softmax(rng, *shape):
    return jax.nn.softmax(jnp.asarray(rng.normal(size=shape), jnp.float32))


def test_comparison_holds_every_score(getkey):
    rng = np.random.default_rng(0)
    p, q, labels = softmax(rng, 60, 3), softmax(rng, 60, 3), rng.integers(3, size=60)
    found = compare(Prediction(p), q, getkey(), labels=labels)
    scores = {
        "agreement": agreement(p, q),
        "total_variation": total_variation(p, q),
        "symmetric_kl": symmetric_kl(p, q),
        "accuracy_difference": accuracy(p, labels) - accuracy(q, labels),
        "nll_difference": nll(jnp.log(p), labels) - nll(jnp.log(q), labels),
        "ece_difference": ece(p, labels) - ece(q, labels),
    }
    assert found.keys() == scores.keys()
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(float(scores[name]), abs=1e-6)
        assert estimate.lower < estimate.upper
    # The mean of one number per example has an interval of ± 1.96 standard errors.
    distances = np.abs(p - q).sum(axis=1) / 2
    half = 1.96 * distances.std() / np.sqrt(60)
    _, lower, upper = found["total_variation"]
    assert (upper - lower) / 2 == pytest.approx(half, rel=0.2)


def test_comparison_without_labels_is_of_distances(getkey):
    key = getkey()
    found = compare(P, Q, key)
    assert found.keys() == {"agreement", "total_variation", "symmetric_kl"}
    labelled = compare(P, Q, key, labels=jnp.array([0, 1]))
    for name, estimate in found.items():
        np.testing.assert_allclose(estimate, labelled[name], rtol=1e-6)


def test_reference_compared_with_itself_differs_in_nothing(getkey):
    found = compare(P, P, getkey(), labels=jnp.array([0, 2]))
    assert found.pop("agreement") == (1.0, 1.0, 1.0)
    assert all(estimate == (0.0, 0.0, 0.0) for estimate in found.values())


def test_examples_may_hold_several_predictions(getkey):
    rng, key = np.random.default_rng(0), getkey()
    p, q = softmax(rng, 20, 4, 3), softmax(rng, 20, 4, 3)
    found = compare(p, q, key, labels=rng.integers(3, size=(20, 4)))
    assert found["agreement"].value == pytest.approx(float(agreement(p, q)))


def test_ceiling_is_the_mean_over_chains_against_the_rest(getkey):
    rng = np.random.default_rng(0)
    chains = softmax(rng, 3, 50, 4)
    rest = [(chains[1] + chains[2]) / 2, (chains[0] + chains[2]) / 2, (chains[0] + chains[1]) / 2]
    found = ceiling(chains, getkey())
    for metric in (agreement, total_variation, symmetric_kl):
        expected = np.mean([metric(chain, others) for chain, others in zip(chains, rest)])
        value, lower, upper = found[metric.__name__]
        assert value == pytest.approx(expected, rel=1e-5)
        assert lower < value < upper


def test_ceiling_of_two_chains_is_the_distance_of_one_to_the_other(getkey):
    rng, key = np.random.default_rng(0), getkey()
    p, q = softmax(rng, 30, 3), softmax(rng, 30, 3)
    expected = compare(p, q, key)
    for name, estimate in ceiling(jnp.stack([p, q]), key).items():
        np.testing.assert_allclose(estimate, expected[name], rtol=1e-5)


def test_one_more_chain_just_meets_the_ceiling(getkey):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2000, 4))
    *chains, fresh = jax.nn.softmax(jnp.asarray(logits + 0.2 * rng.normal(size=(6, 2000, 4))))
    chains = jnp.stack(chains)
    top = float(ceiling(chains, getkey())["total_variation"].value)
    assert total_variation(fresh, chains.mean(axis=0)) == pytest.approx(top, rel=0.05)
    assert total_variation(chains[0], chains[1]) > 1.2 * top
    assert total_variation(chains[0], chains.mean(axis=0)) < 0.9 * top


def test_ceiling_keeps_small_probabilities(getkey):
    sure, unsure, mixed = np.array([[1 - 1e-12, 1e-12], [1e-12, 1 - 1e-12], [0.5, 0.5]])
    pairs = [(sure, unsure), (unsure, mixed), (unsure, mixed)]
    expected = np.mean([(rel_entr(p, q) + rel_entr(q, p)).sum() / 2 for p, q in pairs])
    found = ceiling(jnp.array([[sure], [unsure], [unsure]]), getkey())
    assert found["symmetric_kl"].value == pytest.approx(expected, rel=1e-5)


def test_comparisons_refuse_what_does_not_match(refused, getkey):
    with refused("reference"):
        compare(P, Q[:1], getkey())
    with refused("labels"):
        compare(P, Q, getkey(), labels=jnp.zeros(3, int))
    with refused("labels"):
        compare(P, Q, getkey(), labels=jnp.array([0, 3]))
    with refused("chains"):
        ceiling(P[None], getkey())
    with refused("chains"):
        ceiling(P, getkey())
