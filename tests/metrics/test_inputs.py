"""The one door: what is not a probability, a log-probability or a class goes nowhere."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from jfractal import metrics
from jfractal.errors import InputError

PROBS = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3]], np.float32)
LABELS = np.array([0, 2, 1])
KEY = jax.random.key(0)
OF_PROBS = {
    "brier": metrics.brier,
    "brier_decomposition": metrics.brier_decomposition,
    "ece": metrics.ece,
    "mce": metrics.mce,
    "reliability": metrics.reliability,
    "conformal_threshold": partial(metrics.conformal_threshold, alpha=0.4),
    "agreement": lambda p, _: metrics.agreement(PROBS, p),
    "total_variation": lambda p, _: metrics.total_variation(p, PROBS),
    "symmetric_kl": lambda p, _: metrics.symmetric_kl(p, PROBS),
    "compare": lambda p, y: metrics.compare(PROBS, p, KEY, labels=y),
    "ceiling": lambda p, _: metrics.ceiling(np.stack([p, PROBS]), KEY),
    "prediction_sets": lambda p, _: metrics.prediction_sets(p, 0.5),
}
OF_LOG_PROBS = {
    "nll": metrics.nll,
    "mean_log_probs": lambda p, _: metrics.mean_log_probs(p[None]),
    "joint_log_prob": lambda p, y: metrics.joint_log_prob(p[None], y),
    "total_entropy": lambda p, _: metrics.total_entropy(p[None]),
    "aleatoric_entropy": lambda p, _: metrics.aleatoric_entropy(p[None]),
    "epistemic_entropy": lambda p, _: metrics.epistemic_entropy(p[None]),
    "batch_bald": lambda p, _: metrics.batch_bald(p[None], KEY, num_chosen=1),
}
NOT_PROBS = {
    "logits": 5 * PROBS - 2,
    "negative": PROBS + np.array([0.3, -0.3, 0], np.float32),
    "unnormalised": 2 * PROBS,
    "nan": np.where(PROBS.max() == PROBS, np.nan, PROBS),
    "log-probabilities": np.log(PROBS),
}


@pytest.mark.parametrize("score", OF_PROBS)
@pytest.mark.parametrize("wrong", NOT_PROBS)
def test_what_is_no_probability_is_refused(score, wrong):
    with pytest.raises(InputError, match="must be probabilities that sum to 1 over the last axis"):
        OF_PROBS[score](NOT_PROBS[wrong], LABELS)


@pytest.mark.parametrize("score", OF_LOG_PROBS)
@pytest.mark.parametrize(
    "wrong", [PROBS, NOT_PROBS["logits"], np.log(PROBS) - 1, np.log(NOT_PROBS["nan"])]
)
def test_what_is_no_log_probability_is_refused(score, wrong):
    with pytest.raises(InputError, match="`log_probs` must be log-probabilities"):
        OF_LOG_PROBS[score](wrong, LABELS)


@pytest.mark.parametrize("score", [metrics.fit_temperature, lambda p, _: metrics.tempered(p, 2.0)])
def test_logits_are_not_probabilities(score):
    for wrong in (PROBS, np.log(NOT_PROBS["nan"])):
        with pytest.raises(InputError, match="`log_probs` must be log-probabilities or logits"):
            score(wrong, LABELS)
    assert jnp.isfinite(score(5 * PROBS, LABELS)).all()


def test_rows_of_nan_have_no_accuracy():
    with pytest.raises(InputError, match="`probs` must be numbers, not NaN"):
        metrics.accuracy(NOT_PROBS["nan"], LABELS)
    assert metrics.accuracy(5 * PROBS, LABELS) == 1  # of logits, the order counts


@pytest.mark.parametrize("labels", [LABELS + 0.5, LABELS.astype(float), LABELS > 0, LABELS + 1])
@pytest.mark.parametrize("score", ["ece", "compare", "nll", "joint_log_prob"])
def test_what_is_no_class_is_refused(score, labels):
    function, x = (OF_PROBS | OF_LOG_PROBS)[score], np.log(PROBS)
    with pytest.raises((InputError, TypeCheckError), match=r"[`']labels[`']"):
        function(x if score in OF_LOG_PROBS else PROBS, labels)


@pytest.mark.nan
def test_the_door_is_free_under_jit():
    """Nothing of the check is left in the program: it holds what the formula needs."""
    program = str(jax.make_jaxpr(metrics.brier)(PROBS, LABELS))
    assert "is_finite" not in program and "callback" not in program
    assert jnp.isnan(jax.jit(metrics.brier)(NOT_PROBS["nan"], LABELS))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_read_in_single_precision(dtype):
    """Entropies of half-precision log-probabilities equal those of the same numbers in float64."""
    logits = jax.random.normal(KEY, (8, 50, 10)).astype(dtype)
    log_probs = jax.nn.log_softmax(logits)
    exact = np.asarray(log_probs, np.float64)
    probs = np.exp(exact)
    mean = probs.mean(0)
    total = -(mean * np.log(mean)).sum(-1)
    aleatoric = -(probs * exact).sum(-1).mean(0)
    for function, expected in (
        (metrics.total_entropy, total),
        (metrics.aleatoric_entropy, aleatoric),
        (metrics.epistemic_entropy, np.maximum(total - aleatoric, 0)),
    ):
        actual = function(log_probs)
        assert actual.dtype == jnp.float32
        np.testing.assert_allclose(actual, expected, atol=1e-5)


# Where x log x and its like have a limit


ZERO = jnp.log(jnp.array([[[1.0, 0, 0], [0.5, 0.5, 0]], [[1.0, 0, 0], [0, 0.5, 0.5]]]))


@pytest.mark.parametrize(
    ("entropy", "expected"),
    [
        (metrics.total_entropy, [0, 1.5 * np.log(2)]),
        (metrics.aleatoric_entropy, [0, np.log(2)]),
        (metrics.epistemic_entropy, [0, 0.5 * np.log(2)]),
    ],
)
def test_entropies_at_zero_and_one(entropy, expected):
    np.testing.assert_allclose(entropy(ZERO), expected, atol=1e-6)
    assert jnp.isfinite(jax.grad(lambda x: entropy(x).sum())(ZERO)).all()


def test_the_mean_of_zeros_is_zero_with_a_gradient():
    np.testing.assert_allclose(
        jnp.exp(metrics.mean_log_probs(ZERO)), [[1, 0, 0], [0.25, 0.5, 0.25]], atol=1e-6
    )
    of_label = lambda x: metrics.mean_log_probs(x)[1].sum()
    assert jnp.isfinite(jax.grad(of_label)(ZERO)).all()


def test_symmetric_kl_at_zero_has_a_gradient():
    p = jnp.exp(ZERO[0])
    assert jnp.isfinite(jax.grad(lambda p: metrics.symmetric_kl(p, PROBS[:2]))(p)).all()


def test_batch_bald_with_probabilities_of_zero():
    """Exact by enumeration: all 3³ labels of every triple, in float64."""
    probs = np.random.default_rng(0).dirichlet(np.ones(3), (4, 6))
    probs[:, 4] = [1, 0, 0]

    def information(chosen):
        joint = np.ones((4, 1))
        for i in chosen:
            joint = (joint[:, :, None] * probs[:, i][:, None]).reshape(4, -1)
        entropy = lambda p: -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=-1)
        return entropy(joint.mean(0)) - entropy(joint).mean()

    expected, best = [], []
    for _ in range(3):
        found = {i: information([*best, i]) for i in range(6) if i not in best}
        best.append(max(found, key=found.get))
        expected.append(found[best[-1]])
    with np.errstate(divide="ignore"):
        log_probs = jnp.asarray(np.log(probs), jnp.float32)
    chosen, nats = metrics.batch_bald(log_probs, KEY, num_chosen=3)
    np.testing.assert_array_equal(chosen, best)
    np.testing.assert_allclose(nats, expected, atol=1e-5)
    assert 4 not in best
    # And where combinations are drawn.
    _, drawn = metrics.batch_bald(log_probs, KEY, num_chosen=3, num_configurations=4)
    assert jnp.isfinite(drawn).all()


def test_crps_of_a_point_is_its_absolute_error():
    y, mean = jnp.array([1.0, -2.0, 3.0, 0.5]), jnp.array([0.0, 1.0, 3.0, 0.5])
    scale = jnp.array([0.0, 0.0, 0.0, 1e-30])
    np.testing.assert_allclose(metrics.crps_gaussian(y, mean, scale), jnp.abs(y - mean), atol=1e-7)
    gradients = jax.grad(lambda *x: metrics.crps_gaussian(*x).sum(), (0, 1, 2))(y, mean, scale)
    np.testing.assert_allclose(gradients[0][:2], [1, -1], atol=1e-6)
    # From the right: ∂/∂σ = 2φ(z) − 1/√π.
    np.testing.assert_allclose(gradients[2][:2], -1 / np.sqrt(np.pi), atol=1e-6)
    assert all(jnp.isfinite(g).all() for g in gradients)
