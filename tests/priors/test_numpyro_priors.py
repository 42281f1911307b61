"""Any NumPyro distribution is a prior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from numpyro import distributions as dist

import jfractal as jf
from jfractal import priors
from jfractal.errors import InputError
from jfractal.posterior import mean_field
from jfractal.priors import as_prior, kl

W = {"kernel": jnp.arange(15.0).reshape(5, 3) / 10, "bias": jnp.array([0.5, -0.3, 0.1])}
Q = mean_field(W, scale=0.3)


def test_a_normal_is_the_gaussian_with_its_exact_divergence():
    ours, theirs = priors.Gaussian(0.8, 0.1), as_prior(dist.Normal(0.1, 0.8))
    np.testing.assert_allclose(theirs.tree_log_prob(W), ours.tree_log_prob(W), rtol=1e-6)
    for normal in (
        dist.Normal(0.1, 0.8),
        dist.Normal(0.1, 0.8).expand([3]),
        dist.Normal(jnp.full(3, 0.1), 0.8).to_event(1),
    ):
        np.testing.assert_allclose(kl(Q, normal), kl(Q, ours), rtol=1e-6)  # and no key


def test_one_without_a_closed_form_is_estimated():
    with pytest.raises(InputError, match="has no closed form: `key` must be given"):
        kl(Q, dist.Laplace(0.0, 0.7))
    keys = jax.random.split(jax.random.key(0), 5000)
    draws = jax.vmap(lambda key: kl(Q, dist.Laplace(0.0, 0.7), key))(keys)
    exact = kl(Q, priors.Laplace(0.7))
    assert abs(draws.mean() - exact) < 4 * draws.std() / len(keys) ** 0.5


def test_weights_may_be_correlated():
    covariance = np.array([[1.0, 0.5, 0.0], [0.5, 2.0, 0.3], [0.0, 0.3, 1.5]], np.float32)
    prior = dist.MultivariateNormal(jnp.zeros(3), jnp.asarray(covariance))
    oracle = scipy.stats.multivariate_normal(np.zeros(3), covariance)
    expected = oracle.logpdf(W["kernel"]).sum() + oracle.logpdf(W["bias"])
    np.testing.assert_allclose(as_prior(prior).tree_log_prob(W), expected, rtol=1e-5)
    assert jnp.isfinite(kl(Q, prior, jax.random.key(0)))


def test_it_serves_wherever_a_prior_does():
    x, y = jnp.ones((4, 5)), jnp.zeros((4, 3))
    apply = lambda variables, x: x @ variables["params"]["kernel"]
    likelihood, normal = jf.likelihoods.Gaussian(1.0), dist.Normal(0.0, 0.7)
    ours, theirs = (
        jf.Model(apply, prior=prior, likelihood=likelihood)
        for prior in (priors.Gaussian(0.7), normal)
    )
    np.testing.assert_allclose(ours.log_joint(W, (x, y)), theirs.log_joint(W, (x, y)), rtol=1e-6)
    ours, theirs = (jf.elbo(m, Q, (x, y), jax.random.key(0), num_data=4) for m in (ours, theirs))
    np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-6)
    by_path = priors.ByPath([("bias", dist.Normal(0.0, 2.0))], default=normal)
    np.testing.assert_allclose(
        kl(Q, by_path),
        kl(Q["bias"], priors.Gaussian(2.0)) + kl(Q["kernel"], priors.Gaussian(0.7)),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (dist.Normal(jnp.zeros(5), 1.0), r"shape \(3,\) of the leaf 'bias', got a Normal of batch"),
        (dist.MultivariateNormal(jnp.zeros(5), jnp.eye(5)), r"'bias', .* event shape \(5,\)"),
        (dist.HalfNormal(1.0), "over the real numbers, got HalfNormal"),
        (dist.Bernoulli(0.5), "over the real numbers, got Bernoulli"),
        (1.0, "`prior` must be a Prior or a numpyro.distributions.Distribution, got 1.0"),
    ],
)
def test_what_is_no_prior_of_these_weights_is_refused(prior, message):
    with pytest.raises(InputError, match=message):
        as_prior(prior).tree_log_prob(W)
