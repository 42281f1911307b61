import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special

from jfractal.metrics import fit_temperature, nll, tempered

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (500, 5)).astype(np.float32)
LABELS = (LOGITS + RNG.gumbel(0, 1, LOGITS.shape)).argmax(-1)  # drawn from their softmax


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_it_is_the_minimum_of_the_nll(run, factor):
    logits = factor * LOGITS

    def objective(temperature):
        log_probs = scipy.special.log_softmax(np.float64(logits) / temperature, axis=-1)
        return -log_probs[np.arange(500), LABELS].mean()

    best = scipy.optimize.minimize_scalar(objective, bounds=(0.05, 50), method="bounded")
    fitted = run(fit_temperature)(logits, LABELS)
    assert fitted == pytest.approx(best.x, rel=1e-3)
    assert nll(tempered(logits, fitted), LABELS) == pytest.approx(best.fun, rel=1e-5)
    assert fitted == pytest.approx(factor, rel=0.15)


def test_a_constant_of_the_logits_does_not_count():
    log_probs = jax.nn.log_softmax(LOGITS)
    assert fit_temperature(log_probs, LABELS) == pytest.approx(
        float(fit_temperature(LOGITS, LABELS)), rel=1e-4
    )


def test_the_bounds():
    logits = jnp.array([[2.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits, jnp.array([0, 1])) == pytest.approx(0.01, rel=1e-4)
    assert fit_temperature(logits, jnp.array([1, 0])) == pytest.approx(100, rel=1e-4)


def test_probability_zero_stays_zero():
    log_probs = jnp.log(jnp.array([[0.6, 0.4, 0.0], [0.3, 0.7, 0.0], [0.55, 0.45, 0.0]]))
    temperature = fit_temperature(log_probs, jnp.array([0, 1, 1]))
    assert 0.01 < temperature < 100
    np.testing.assert_allclose(jnp.exp(tempered(log_probs, temperature)).sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(tempered(log_probs, 1.0), log_probs, rtol=1e-6)
