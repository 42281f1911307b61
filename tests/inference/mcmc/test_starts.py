"""Where chains start, and which weights move."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal.testing import Moments, assert_covariance, assert_mean
from tests.inference.conftest import flat

KEY = jax.random.key(4)
SHORT = {"num_warmup": 30, "num_draws": 4, "trajectory_length": 1.5}
STARTS = {"bias": jnp.arange(4.0)[:, None], "kernel": jnp.arange(8.0).reshape(4, 2, 1)}


def frozen(**options):
    """Chains of which the bias stands still, on the conjugate regression."""
    return {"where": lambda path, leaf: path == "kernel", **SHORT, **options}


@pytest.mark.parametrize(
    "starts",
    [
        STARTS,
        {"params": STARTS},
        jf.Samples(STARTS),
        jf.Ensemble(jf.Point({"params": STARTS})),
    ],
)
def test_each_chain_has_its_start(target, starts):
    chains = jf.hmc(*target, KEY, starts=starts, **frozen())
    np.testing.assert_array_equal(chains.params["bias"][..., 0], np.repeat(STARTS["bias"], 4, 1))


def test_the_draws_do_not_depend_on_how_starts_are_given(problem, target):
    key_init, _ = jax.random.split(KEY)
    drawn = jax.vmap(problem.start)(jax.random.split(key_init, 4))
    by_key, by_tree = (jf.hmc(*target, KEY, starts=s, **SHORT) for s in (problem.start, drawn))
    jax.tree.map(np.testing.assert_array_equal, by_key, by_tree)


def test_gaussian_weights_start_from_their_means(target):
    mean_field = jax.vmap(lambda w: jf.mean_field(w, scale=0.1))(STARTS)
    chains = [jf.hmc(*target, KEY, starts=s, **SHORT) for s in (mean_field, STARTS)]
    jax.tree.map(np.testing.assert_array_equal, *chains)


def test_a_part_of_the_weights_is_sampled_given_the_others(problem, target):
    """The conditional of a Gaussian is known."""
    options = frozen(num_warmup=300, num_draws=1000)
    chains = jf.hmc(*target, KEY, starts=problem.start, **options)
    bias = chains.params["bias"]
    assert bias.shape == (4, 1000, 1) and np.ptp(bias) == 0  # alike in all chains
    within = problem.precision[1:, 1:]
    covariance = np.linalg.inv(within)
    shift = -covariance @ problem.precision[1:, 0] * (float(bias[0, 0, 0]) - problem.mean[0])
    conditional = Moments(problem.mean[1:] + shift, covariance)
    draws = flat(chains.params)[..., 1:]
    assert_mean(draws, conditional)
    assert_covariance(draws, conditional)


def test_what_stands_still_is_held_once_and_drawn_whole(problem, target):
    chains = jf.hmc(*target, KEY, starts=problem.start, **frozen())
    assert chains.variables["params"]["bias"].shape == (4, 1, 1)
    net = problem.net
    assert jf.sample_outputs(net.apply, chains, problem.x, KEY, num_samples=3).shape == (3, 30, 1)
    np.testing.assert_array_equal(chains.variance()["bias"], [0.0])
    outputs = chains.outputs(net.apply, problem.x)
    expected = jax.vmap(jax.vmap(lambda w: net.apply({"params": w}, problem.x)))(chains.params)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    assert np.isfinite(chains.diagnose(weights=True).figures["rhat_weights"])
    draw = chains.sample(KEY)["params"]
    assert draw["bias"].shape == (1,) and draw["kernel"].shape == (2, 1)
    np.testing.assert_array_equal(chains.samples.params["kernel"][4], chains.params["kernel"][1, 0])


def test_batch_statistics_stay_as_they_are():
    """A trained net with batch norm has a posterior given its statistics."""
    net = nn.Sequential([nn.BatchNorm(use_running_average=True), nn.Dense(2)])
    x, y = jax.random.normal(KEY, (20, 3)), jnp.arange(20) % 2
    model = jf.Model(
        net.apply, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical()
    )
    chains = jf.hmc(model, (x, y), KEY, starts=lambda key: net.init(key, x), **SHORT)
    draw = chains.sample(KEY)
    assert set(draw) == {"params", "batch_stats"}
    assert jf.predict(net.apply, chains, x, KEY, num_samples=2).probs.shape == (20, 2)


@pytest.mark.parametrize(
    ("starts", "reason"),
    [
        (
            jf.Samples(STARTS),
            "as many members as there are chains: it has 4, and `num_chains` is 3",
        ),
        (STARTS, r"leading axis of `num_chains`, 3, got shape \(4, 1\) at 'bias'"),
        ({}, "at least one array"),
        (None, "at least one array"),
        (jf.Point({"params": STARTS}), "`Ensemble` or `Samples`.* got Point"),
        (lambda key: {"bias": jnp.ones(1, int)}, "floating-point arrays, got int32 .* at 'bias'"),
        (
            lambda key: {"bias": jnp.full(1, jnp.nan), "kernel": jnp.ones((2, 1))},
            "finite log joint",
        ),
    ],
)
def test_starts_that_are_none_are_refused(target, starts, reason):
    with pytest.raises(jf.InputError, match=reason):
        jf.hmc(*target, KEY, starts=starts, num_chains=3, **SHORT)


def test_something_must_move(problem, target):
    with pytest.raises(
        jf.InputError, match=r"`where` must pick at least one of .*'bias', 'kernel'"
    ):
        jf.hmc(*target, KEY, starts=problem.start, where=lambda path, leaf: False, **SHORT)
