import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.stats import multivariate_normal, norm

import jfractal as jf
from jfractal.testing import ConjugateRegression

KEY = jax.random.key(0)
PROBLEM = ConjugateRegression.random(KEY, num_data=12, num_features=3)


def params_at(flat):
    return {
        "bias": jnp.asarray(flat[:1], jnp.float32),
        "kernel": jnp.asarray(flat[1:, None], jnp.float32),
    }


def test_log_joint_is_that_of_the_posterior_and_the_evidence():
    """``log p(D, w) = log p(w | D) + log p(D)``, at any w."""
    for key in jax.random.split(KEY, 3):
        flat = np.asarray(jax.random.normal(key, (4,)))
        posterior = multivariate_normal(PROBLEM.mean, PROBLEM.covariance).logpdf(flat)
        joint = PROBLEM.model.log_joint(params_at(flat), PROBLEM.data)
        np.testing.assert_allclose(joint, posterior + PROBLEM.log_evidence, rtol=1e-5)


def test_weights_are_in_the_order_of_the_tree():
    flat, _ = ravel_pytree(params_at(np.arange(4.0)))
    np.testing.assert_array_equal(flat, np.arange(4.0))
    params = jax.eval_shape(nn.Dense(1).init, KEY, PROBLEM.x)["params"]
    assert jax.tree.map(jnp.shape, PROBLEM.start(KEY)) == jax.tree.map(lambda w: w.shape, params)


def test_predictive_is_the_ratio_of_two_evidences():
    """``p(y' | D) = p(D, y') / p(D)``."""
    x, y = jnp.array([[0.3, -1.0, 2.0]]), jnp.array([[0.7]])
    more = ConjugateRegression(jnp.vstack([PROBLEM.x, x]), jnp.vstack([PROBLEM.y, y]))
    mean, std = PROBLEM.predictive(x)
    expected = more.log_evidence - PROBLEM.log_evidence
    np.testing.assert_allclose(norm.logpdf(0.7, mean[0], std[0]), expected, rtol=1e-6)


def test_without_data_to_speak_of_the_posterior_is_the_prior():
    vague = ConjugateRegression(PROBLEM.x, PROBLEM.y, prior_scale=0.5, noise_scale=1e4)
    np.testing.assert_allclose(vague.covariance, 0.25 * np.eye(4), atol=1e-6)
    np.testing.assert_allclose(vague.mean, 0.0, atol=1e-6)


def test_random_data_are_of_the_model():
    """Standardised by what is known of them, targets are standard normal: the evidence is right."""

    def surprise(key):
        problem = ConjugateRegression.random(key, num_data=3, num_features=2)
        return problem.design, problem.y[:, 0]

    designs, targets = zip(*map(surprise, jax.random.split(KEY, 300)))
    covariances = [0.25 * np.eye(3) + 2.25 * d @ d.T for d in designs]
    squares = [y @ np.linalg.solve(c, np.asarray(y)) for y, c in zip(targets, covariances)]
    assert abs(np.mean(squares) - 3) < 4 * np.sqrt(2 * 3 / 300)


def test_bad_input():
    with pytest.raises(jf.InputError, match=r"`y` must have the shape \(30, 1\)"):
        ConjugateRegression(jnp.zeros((30, 2)), jnp.zeros(30))
    for options in ({"num_data": 0}, {"num_features": 0}):
        with pytest.raises(jf.InputError, match=next(iter(options))):
            ConjugateRegression.random(KEY, **options)
