from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal.errors import InputError
from jfractal.metrics import aurc, risk_coverage, selective_accuracy


def test_worked_by_hand(run):
    uncertainty = jnp.array([0.3, 0.1, 0.4, 0.2])
    correct = jnp.array([False, True, True, True])
    np.testing.assert_allclose(
        run(risk_coverage)(uncertainty, correct), [0, 0, 1 / 3, 1 / 4], rtol=1e-6
    )
    assert run(aurc)(uncertainty, correct) == pytest.approx(7 / 48, rel=1e-6)
    accuracies = [
        run(partial(selective_accuracy, coverage=c))(uncertainty, correct)
        for c in (0.1, 0.25, 0.5, 0.75, 1.0)
    ]
    np.testing.assert_allclose(accuracies, [1, 1, 1, 2 / 3, 3 / 4], rtol=1e-6)


def test_ties_are_the_mean_over_their_orders(run):
    rng = np.random.default_rng(0)
    uncertainty, correct = rng.integers(0, 4, 30).astype(np.float32), rng.random(30) < 0.7
    curves = []
    for _ in range(4000):
        order = np.lexsort((rng.random(30), uncertainty))
        curves.append(np.cumsum(~correct[order]) / np.arange(1, 31))
    error = np.std(curves, axis=0) / np.sqrt(len(curves))
    actual = run(risk_coverage)(uncertainty, correct)
    assert np.all(np.abs(actual - np.mean(curves, axis=0)) <= 4 * error + 1e-6)


def test_a_blind_order_has_the_error_rate_everywhere():
    curve = risk_coverage(jnp.zeros(10), jnp.arange(10) < 7)
    np.testing.assert_allclose(curve, 0.3, rtol=1e-6)


def test_a_whole_number_of_answers_is_not_rounded_up():
    # 0.07 · 100 = 7.000000000000001
    correct = jnp.arange(100) < 7
    uncertainty = jnp.arange(100.0)
    assert selective_accuracy(uncertainty, correct, coverage=0.07) == 1
    assert selective_accuracy(uncertainty, correct, coverage=0.071) == pytest.approx(7 / 8)


@pytest.mark.nan
def test_a_diverged_net_is_not_selective():
    assert jnp.isnan(jax.jit(aurc)(jnp.array([0.0, jnp.nan]), jnp.array([True, False])))


def test_bad_input(refused):
    with pytest.raises(InputError, match="`uncertainty` must have the axes `batch`"):
        aurc(jnp.zeros(0), jnp.zeros(0, bool))
    with refused("correct"):
        aurc(jnp.zeros(3), jnp.zeros(2, bool))
    for coverage in (0.0, 1.1):
        with pytest.raises(InputError, match=r"`coverage` must be in \(0, 1\], got"):
            selective_accuracy(jnp.zeros(3), jnp.zeros(3, bool), coverage=coverage)
