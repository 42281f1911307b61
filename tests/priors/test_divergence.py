import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import distributions as dist

from jfractal import priors
from jfractal.errors import InputError
from jfractal.posterior import (
    FactorGaussian,
    MeanField,
    Point,
    Routes,
    group_snr,
    mean,
    mean_field,
    prune,
    sample,
    snr,
    unit_snr,
    variance,
)
from jfractal.priors import kl, kl_by_leaf

PARAMS = {"body": [jnp.ones((2, 3)), jnp.zeros(3)], "head": {"kernel": jnp.full((3, 1), 0.5)}}


def lifted(path, leaf):
    return path != "body/1"


@pytest.mark.parametrize("prior", [priors.Gaussian(0.7), priors.ScaleMixture()])
def test_the_leaves_sum_to_the_whole(prior):
    q = mean_field(PARAMS, scale=0.3, where=lifted) | {"routes": Routes.uniform(2)}
    key = jax.random.key(0)
    parts = kl_by_leaf(q, prior, key)
    assert parts.keys() == {"body/0", "head/kernel", "routes"}  # points have none
    np.testing.assert_allclose(sum(parts.values()), kl(q, prior, key), rtol=1e-6)
    exact = priors.Gaussian(0.7)
    np.testing.assert_allclose(kl_by_leaf(q, exact)["head/kernel"], kl(q["head"], exact), rtol=1e-6)


def test_leaves_get_keys_of_their_own():
    leaf = mean_field(jnp.zeros(3), scale=0.3)
    parts = kl_by_leaf({"a": leaf, "b": leaf}, priors.ScaleMixture(), jax.random.key(0))
    assert parts["a"] != parts["b"]


def test_a_tree_of_points_is_free():
    assert kl(PARAMS, priors.ScaleMixture(), jax.random.key(0)) == 0
    assert kl_by_leaf(PARAMS, priors.ScaleMixture()) == {}


ELEMENTWISE = [
    priors.Gaussian(0.7),
    priors.Gaussian(jnp.arange(1.0, 7.0), jnp.linspace(-1, 1, 6)),
    priors.Laplace(0.5),
    priors.ScaleMixture(),
    priors.StudentT(3.0),
    dist.Normal(0.1, 0.5),
]


@pytest.mark.parametrize("prior", ELEMENTWISE)
@pytest.mark.parametrize("parameterisation", ["softplus", "log_variance"])
def test_pruned_weights_are_no_part_of_the_model(prior, parameterisation):
    """They cost nothing and get no gradient; the others are as they would be without them."""
    means = jnp.array([0.1, -2.0, 0.3, 3.0, 1.5, -0.2])
    q = mean_field(means, scale=0.5, parameterisation=parameterisation)
    pruned, key = prune(q, 0.5), jax.random.key(0)
    is_gone = np.array([True, False, True, False, False, True])
    np.testing.assert_array_equal(pruned.std == 0, is_gone)
    whole, slope_whole = jax.value_and_grad(kl)(q, prior, key)
    value, slope = jax.jit(jax.value_and_grad(lambda q: kl(q, prior, key)))(pruned)
    terms = priors.as_prior(prior).kl(q, jax.random.split(key, 1)[0])
    np.testing.assert_allclose(terms.sum(), whole, rtol=1e-5)
    np.testing.assert_allclose(value, terms[~is_gone].sum(), rtol=1e-5)
    for ours, theirs in ((slope.mean, slope_whole.mean), (slope.rho, slope_whole.rho)):
        np.testing.assert_array_equal(ours[is_gone], 0)
        np.testing.assert_allclose(ours[~is_gone], theirs[~is_gone], rtol=1e-5)


def test_a_fitted_prior_has_the_slope_of_what_is_left():
    q = mean_field(jnp.array([0.1, -2.0, 0.3, 3.0]), scale=0.5)
    left = mean_field(jnp.array([-2.0, 3.0]), scale=0.5)
    ours = jax.grad(kl)(prune(q, 0.5), priors.EmpiricalBayes())
    exact = jax.grad(kl)(left, priors.EmpiricalBayes())
    np.testing.assert_allclose(ours.mean, [0, exact.mean[0], 0, exact.mean[1]], rtol=1e-5)
    np.testing.assert_allclose(ours.rho, [0, exact.rho[0], 0, exact.rho[1]], rtol=1e-5)


@pytest.mark.nan
def test_a_joint_prior_knows_no_part_of_a_leaf():
    prior, key = priors.HierarchicalScale(1.0, 1.0), jax.random.key(0)
    q = mean_field(jnp.ones(4), scale=0.5)
    assert jnp.isfinite(kl(q, prior, key)) and jnp.isnan(kl(prune(q, 0.5), prior, key))


WITH_PARAMS = r"call it with the `params` of a `MeanField`"
CALLS = {
    "kl": (lambda q: kl(q, priors.Gaussian(1.0)), WITH_PARAMS),
    "kl_by_leaf": (lambda q: kl_by_leaf(q, priors.ByPath([], default=priors.FanIn())), WITH_PARAMS),
    "mean": (mean, r"call `posterior.mean\(\)`"),
    "variance": (variance, r"call `posterior.variance\(\)`"),
    "sample": (lambda q: sample(q, jax.random.key(0)), r"call `posterior.sample\(key\)`"),
    "mean_field": (mean_field, r"call it with `posterior.mean\(\)`"),
    "snr": (snr, WITH_PARAMS),
    "group_snr": (group_snr, WITH_PARAMS),
    "unit_snr": (unit_snr, WITH_PARAMS),
    "prune": (lambda q: prune(q, 0.5), WITH_PARAMS),
}
POSTERIORS = {
    "MeanField": MeanField(mean_field({"w": jnp.ones(2)})),
    "Point": Point({"params": {"w": jnp.ones(2)}}),
    "FactorGaussian": FactorGaussian(
        {"w": jnp.ones(2)}, std={"w": jnp.ones(2)}, factors={"w": jnp.ones((1, 2))}
    ),
}


@pytest.mark.parametrize("kind", POSTERIORS)
@pytest.mark.parametrize("name", CALLS)
def test_functions_of_trees_refuse_posteriors(name, kind):
    """They would take one for a tree of point estimates, or its fields for paths."""
    function, instead = CALLS[name]
    with pytest.raises(
        InputError, match=rf"`params` of `\w+` .* got a posterior, {kind}: {instead}"
    ):
        function(POSTERIORS[kind])
