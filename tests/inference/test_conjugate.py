"""Bayesian linear regression, whose posterior is known: every method must meet it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf

NOISE, PRIOR = 0.5, 1.5


@pytest.fixture(scope="module")
def problem():
    """Model, log joint, and the exact posterior's mean, covariance and precision of (w1, w2, b)."""
    key_x, key_y = jax.random.split(jax.random.key(1))
    x = jax.random.normal(key_x, (30, 2)) @ jnp.array([[1.0, 0.6], [0.0, 0.8]])
    y = x @ jnp.array([[1.0], [-2.0]]) + 0.3 + NOISE * jax.random.normal(key_y, (30, 1))
    net = nn.Dense(1)
    log_joint = jf.LogJoint(
        net.apply, (x, y), jf.priors.Gaussian(PRIOR), jf.likelihoods.Gaussian(NOISE)
    )
    design = np.concatenate([x, np.ones((30, 1))], axis=1).astype(np.float64)
    precision = design.T @ design / NOISE**2 + np.eye(3) / PRIOR**2
    covariance = np.linalg.inv(precision)
    mean = covariance @ design.T @ np.asarray(y[:, 0], np.float64) / NOISE**2
    return net, x, log_joint, mean, covariance, precision


def flat(params):
    """Weights as (..., 3), in the order w1, w2, b."""
    return np.concatenate([np.asarray(params["kernel"])[..., 0], params["bias"]], axis=-1)


def start(net, x):
    return lambda key: jax.tree.map(
        lambda w: jax.random.normal(key, w.shape), net.init(key, x)["params"]
    )


def test_log_joint_is_the_quadratic_of_the_exact_posterior(problem):
    net, x, log_joint, mean, _, precision = problem
    params = start(net, x)(jax.random.key(0))
    at = {
        "kernel": jnp.asarray(mean[:2, None], jnp.float32),
        "bias": jnp.asarray(mean[2:], jnp.float32),
    }
    d = flat(params) - mean
    np.testing.assert_allclose(
        log_joint(params) - log_joint(at), -0.5 * d @ precision @ d, rtol=1e-4
    )


def test_map_is_the_posterior_mean(problem):
    net, x, log_joint, mean, *_ = problem
    point = jf.maximum_a_posteriori(
        log_joint,
        start(net, x),
        jax.random.key(0),
        optimizer=optax.adam(optax.cosine_decay_schedule(0.05, 2000)),
        num_steps=2000,
    )
    np.testing.assert_allclose(flat(point.variables["params"]), mean, atol=1e-4)


def test_variational_meets_the_mean_field_optimum(problem):
    """min KL(q ‖ p) over diagonal Gaussians: the mean is exact, the variance 1 / precision_ii."""
    net, x, log_joint, mean, covariance, precision = problem
    fit = jf.variational(
        log_joint,
        lambda key: jf.mean_field(start(net, x)(key), scale=0.5),
        jax.random.key(2),
        optimizer=optax.adam(optax.cosine_decay_schedule(0.02, 6000)),
        num_steps=6000,
        num_samples=4,
    )
    std = flat(
        jax.tree.map(lambda g: g.std, fit.params, is_leaf=lambda g: isinstance(g, jf.Gaussian))
    )
    optimum = 1 / np.sqrt(np.diag(precision))
    np.testing.assert_allclose(flat(jf.mean(fit.params)), mean, atol=0.2 * optimum.min())
    np.testing.assert_allclose(std, optimum, rtol=0.08)
    assert np.all(optimum < 0.99 * np.sqrt(np.diag(covariance)))  # and not the marginal deviation


@pytest.mark.parametrize("method", ["nuts", "hmc"])
def test_chains_meet_the_exact_posterior(problem, method):
    net, x, log_joint, mean, covariance, _ = problem
    options = {"trajectory_length": 1.5} if method == "hmc" else {}
    chains = getattr(jf, method)(
        log_joint, start(net, x), jax.random.key(3), num_warmup=400, num_samples=1000, **options
    )
    assert chains.diagnostics["rhat"] < 1.02 and chains.diagnostics["divergences"] == 0
    draws = flat(chains.params)
    assert draws.shape == (4, 1000, 3)
    ess = jf.metrics.ess(draws)
    error = np.sqrt(np.diag(covariance) / ess)
    assert np.all(np.abs(draws.mean((0, 1)) - mean) < 4 * error)
    # The variance of the estimate of a product of two Gaussians is s_ii s_jj + s_ij².
    d = draws - mean
    products = d[..., :, None] * d[..., None, :]
    s = np.diag(covariance)
    square_ess = jf.metrics.ess(d**2).min()
    error = np.sqrt((np.outer(s, s) + covariance**2) / square_ess)
    assert np.all(np.abs(products.mean((0, 1)) - covariance) < 4 * error)


def test_chains_are_a_posterior_like_any_other(problem):
    net, x, log_joint, mean, covariance, _ = problem
    chains = jf.nuts(log_joint, start(net, x), jax.random.key(4), num_warmup=200, num_samples=250)
    outputs = jf.sample_outputs(net.apply, chains, x, jax.random.key(0), num_samples=2000)
    design = np.concatenate([x, np.ones((30, 1))], axis=1)
    exact = np.sqrt(np.einsum("ni,ij,nj->n", design, covariance, design))
    np.testing.assert_allclose(outputs[..., 0].std(0), exact, rtol=0.25)
    np.testing.assert_allclose(outputs[..., 0].mean(0), design @ mean, atol=0.06)
    assert chains.outputs(net.apply, x).shape == (4, 250, 30, 1)
    flat_draws = chains.samples.params["bias"]
    np.testing.assert_array_equal(flat_draws[250:500], chains.params["bias"][1])


def test_one_chain(problem):
    net, x, log_joint, *_ = problem
    chains = jf.nuts(
        log_joint, start(net, x), jax.random.key(4), num_chains=1, num_warmup=50, num_samples=40
    )
    assert flat(chains.params).shape == (1, 40, 3)


@pytest.mark.parametrize(
    "options",
    [{"num_chains": 0}, {"num_samples": 0}, {"num_warmup": 0}, {"target_accept": 1.0}],
)
def test_bad_input(problem, options):
    net, x, log_joint, *_ = problem
    with pytest.raises(jf.InputError, match=next(iter(options))):
        jf.nuts(log_joint, start(net, x), jax.random.key(0), **options)


def test_a_start_without_density_is_refused(problem):
    net, x, *_ = problem
    with pytest.raises(jf.InputError, match="finite where the chains start"):
        jf.nuts(lambda w: jnp.log(-jnp.abs(w["bias"][0])), start(net, x), jax.random.key(0))
