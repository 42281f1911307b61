import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from jfractal.metrics import aupr, auroc, fpr95


def continuous(rng, size):
    return rng.normal(size=size).astype(np.float32)


def tied(rng, size):
    return rng.integers(0, 6, size=size).astype(np.float32)


@pytest.fixture(params=[continuous, tied])
def scores(request):
    rng = np.random.default_rng(0)
    return request.param(rng, 137), request.param(rng, 89) + np.float32(1)


def test_auroc_meets_scikit_learn(run, scores):
    is_out = np.repeat([0, 1], [len(group) for group in scores])
    expected = roc_auc_score(is_out, np.concatenate(scores))
    assert run(auroc)(*scores) == pytest.approx(expected, rel=1e-6)


def test_aupr_meets_scikit_learn(run, scores):
    is_out = np.repeat([0, 1], [len(group) for group in scores])
    joined = np.concatenate(scores)
    assert run(aupr)(*scores) == pytest.approx(average_precision_score(is_out, joined), rel=1e-6)
    inside, outside = scores
    assert run(aupr)(-outside, -inside) == pytest.approx(
        average_precision_score(1 - is_out, -joined), rel=1e-6
    )


def test_fpr95_meets_the_roc_curve_of_scikit_learn(run, scores):
    # In this convention the positives are the examples inside, known by a low score.
    is_in = np.repeat([1, 0], [len(group) for group in scores])
    fpr, tpr, _ = roc_curve(is_in, -np.concatenate(scores), drop_intermediate=False)
    assert run(fpr95)(*scores) == pytest.approx(fpr[tpr >= 0.95].min(), rel=1e-6)


@pytest.mark.parametrize("size", [1, 19, 20, 21, 100])
def test_the_gate_lets_through_95_percent_and_no_more_than_it_must(size):
    inside = jnp.arange(size, dtype=jnp.float32)
    num_pass = next(k for k in range(size + 1) if 100 * k >= 95 * size)
    passing, failing = jnp.full(1, num_pass - 1.0), jnp.full(1, num_pass - 0.5)
    assert fpr95(inside, passing) == 1
    assert fpr95(inside, failing) == 0


def test_extremes():
    low, high = jnp.array([-jnp.inf, 0.0, 1.0]), jnp.array([2.0, jnp.inf])
    assert jax.jit(auroc)(low, high) == 1
    assert jax.jit(auroc)(high, low) == 0
    assert jax.jit(auroc)(jnp.zeros(3), jnp.zeros(2)) == 0.5
    assert jax.jit(aupr)(low, high) == 1
    assert jax.jit(aupr)(jnp.zeros(3), jnp.zeros(2)) == pytest.approx(0.4)
    assert jax.jit(fpr95)(low, high) == 0
    assert jax.jit(fpr95)(high, low) == 1


@pytest.mark.parametrize("metric", [aupr, auroc, fpr95])
@pytest.mark.nan
def test_a_diverged_net_is_no_perfect_detector(metric):
    fine, broken = jnp.zeros(3), jnp.full(2, jnp.nan)
    assert jnp.isnan(jax.jit(metric)(fine, broken))
    assert jnp.isnan(jax.jit(metric)(broken, fine))


@pytest.mark.parametrize("metric", [aupr, auroc, fpr95])
def test_only_vectors_are_scores(refused, metric):
    with refused("scores_in"):
        metric(jnp.zeros(0), jnp.zeros(2))
    with refused("scores_out"):
        metric(jnp.zeros(2), jnp.zeros((2, 2)))
