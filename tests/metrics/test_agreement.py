from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from jfractal.metrics import agreement, total_variation, wasserstein

P = jnp.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
Q = jnp.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]])


class Prediction(NamedTuple):
    probs: jax.Array


def test_worked_by_hand(run):
    assert run(agreement)(P, Q) == 0.5
    # ½ (0.2 + 0.1 + 0.1) and ½ (0.5 + 0.5 + 0), averaged
    assert run(total_variation)(P, Q) == pytest.approx(0.35)


def test_bounds():
    assert jax.jit(agreement)(P, P) == 1
    assert jax.jit(total_variation)(P, P) == 0
    certain = jnp.eye(3)
    assert jax.jit(agreement)(certain, certain[::-1]) == pytest.approx(1 / 3)
    assert jax.jit(total_variation)(certain, certain[::-1]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", [agreement, total_variation])
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
    for metric in (agreement, total_variation):
        with refused("q"):
            metric(P, Q[:1])
        with refused("q"):
            metric(Prediction(P), Prediction(Q[:1]))
        with refused("q"):
            metric(P[:0], Q[:0])
    with refused("y"):
        wasserstein(jnp.zeros((5, 2)), jnp.zeros((4, 2)))
    with refused("y"):
        wasserstein(jnp.zeros(0), jnp.zeros(0))
