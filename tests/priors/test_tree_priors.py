"""Priors that tell leaves apart."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jaxtyping import TypeCheckError

from jfractal import priors
from jfractal.errors import InputError
from jfractal.posterior import mean_field
from jfractal.priors import kl

PARAMS = {
    "conv": {"kernel": jnp.full((3, 3, 4, 2), 0.1), "bias": jnp.array([0.3, -0.2])},
    "head": {"kernel": jnp.full((8, 5), -0.2), "bias": jnp.zeros(5)},
}


def by_hand(priors_by_path):
    """The log density and the KL, leaf by leaf."""
    q = mean_field(PARAMS, scale=0.2)
    flat = {f"{a}/{b}": (PARAMS[a][b], q[a][b]) for a in PARAMS for b in PARAMS[a]}
    assert flat.keys() == priors_by_path.keys()
    log_prob = sum(priors_by_path[path].log_prob(w).sum() for path, (w, _) in flat.items())
    return log_prob, sum(priors_by_path[path].kl(leaf).sum() for path, (_, leaf) in flat.items())


def assert_is(prior, priors_by_path):
    log_prob, divergence = by_hand(priors_by_path)
    np.testing.assert_allclose(jax.jit(prior.tree_log_prob)(PARAMS), log_prob, rtol=1e-5)
    q = mean_field(PARAMS, scale=0.2)
    np.testing.assert_allclose(jax.jit(lambda q: kl(q, prior))(q), divergence, rtol=1e-5)


def test_by_path_the_first_rule_counts():
    prior = priors.ByPath(
        [
            ("*/bias", priors.Gaussian(2.0)),
            (lambda path: path.startswith("head"), priors.Laplace(0.3)),
            ("head/*", priors.Gaussian(100.0)),
        ],
        default=priors.Gaussian(0.5),
    )
    bias = priors.Gaussian(2.0)
    expected = {"conv/kernel": priors.Gaussian(0.5), "head/kernel": priors.Laplace(0.3)}
    assert_is(prior, {"conv/bias": bias, "head/bias": bias, **expected})


def test_fan_in_is_all_axes_but_the_last():
    one = priors.Gaussian(1.5)
    kernels = {
        "conv/kernel": priors.Gaussian(1.5 / 6),
        "head/kernel": priors.Gaussian(1.5 / 8**0.5),
    }
    assert_is(priors.FanIn(1.5), {"conv/bias": one, "head/bias": one, **kernels})
    assert priors.FanIn(1.5).at("w", ()) == one


def test_a_table_of_tokens_has_no_fan_in():
    with pytest.warns(UserWarning, match="10000 tokens of the table 'embed/embedding'.*100 times"):
        priors.FanIn().at("embed/embedding", (10_000, 8))
    by_path = priors.ByPath([("*/embedding", priors.Gaussian(1.0))], default=priors.FanIn())
    assert by_path.at("embed/embedding", (10_000, 8)) == priors.Gaussian(1.0)  # and no warning


def test_rules_may_be_trees_themselves():
    prior = priors.ByPath([("*/bias", priors.CentredOn(PARAMS, 0.1))], default=priors.FanIn())
    leaf = prior.at("conv/bias", (2,))
    np.testing.assert_array_equal(leaf.mean, PARAMS["conv"]["bias"])
    assert prior.at("head/kernel", (4, 5)) == priors.Gaussian(0.5)


@pytest.mark.parametrize("relative", [0.0, 0.5])
def test_centred_on_a_trained_net(relative):
    centre = jax.tree.map(lambda w: w + 0.4, PARAMS)
    flat = {f"{a}/{b}": np.asarray(centre[a][b]) for a in centre for b in centre[a]}
    expected = {path: priors.Gaussian(0.3 + relative * np.abs(w), w) for path, w in flat.items()}
    for params in (centre, mean_field(centre, scale=0.7)):  # of a posterior, the means count
        assert_is(priors.CentredOn(params, 0.3, relative), expected)
    density = priors.CentredOn(centre, 0.3, relative).tree_log_prob(PARAMS)
    weights = [np.asarray(PARAMS[a][b]) for a in centre for b in centre[a]]
    by_scipy = sum(
        scipy.stats.norm.logpdf(w, c, 0.3 + relative * np.abs(c)).sum()
        for w, c in zip(weights, flat.values())
    )
    np.testing.assert_allclose(density, by_scipy, rtol=1e-5)


def test_a_prior_of_another_shape_is_refused():
    q = mean_field(PARAMS)
    without = {"conv": PARAMS["conv"]}
    with pytest.raises(InputError, match=r"without a leaf 'head/bias', its leaves are \['conv/bia"):
        kl(q, priors.CentredOn(without))
    other = {**PARAMS, "head": {"kernel": jnp.zeros((8, 4)), "bias": jnp.zeros(5)}}
    with pytest.raises(InputError, match=r"'head/kernel' of shape \(8, 4\), the weights there"):
        kl(q, priors.CentredOn(other))
    with pytest.raises(InputError, match=r"`scale` of a Gaussian prior .* leaf 'conv/bias'"):
        kl(q, priors.Gaussian(jnp.ones(5)))
    with pytest.raises(NotImplementedError, match=r"FanIn has no density of its own: `at\(path"):
        priors.FanIn().log_prob(jnp.ones(3))


@pytest.mark.parametrize("pattern", [".*kernel", "block(1|2)/*", "[ab", "^head/*", "kernel$", ""])
def test_patterns_that_are_not_globs_are_refused(pattern):
    with pytest.raises(InputError, match="`rules` must"):
        priors.ByPath([(pattern, priors.Gaussian())], default=priors.Laplace())


@pytest.mark.parametrize(
    "pattern", ["*/kernel", "block[12]/*", "*[!a]", "[]]x", re.compile("a").match]
)
def test_globs_and_predicates_are_accepted(pattern):
    priors.ByPath([(pattern, priors.Gaussian())], default=priors.Laplace())


@pytest.mark.parametrize("rules", [None, "*", [priors.Gaussian()], [("*", 3)], [("*",)]])
def test_rules_are_pairs_of_a_pattern_and_a_prior(rules):
    with pytest.raises((InputError, TypeCheckError), match=r"[`'](rules|prior)[`']"):
        priors.ByPath(rules, default=priors.Laplace())


@pytest.mark.nan
def test_centres_are_finite_floating_point_weights():
    for w in (jnp.arange(3), jnp.array([jnp.nan])):
        with pytest.raises(InputError, match="`params` must"):
            priors.CentredOn({"w": w})
