"""Microcanonical Langevin Monte Carlo: exact with acceptance, and as good as its steps without."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from jfractal.inference.mcmc.isokinetic import Tuned
from jfractal.inference.mcmc.tuning import BatchMeans, EnergyTuner, Moments
from jfractal.testing import GaussianTarget, assert_covariance, assert_mean, draws_of
from tests.inference.conftest import flat
from tests.inference.mcmc.conftest import prior_alone, prior_of

KEY = jax.random.key(4)
BIASED = 0.1  # standard deviations, and products of two, that steps of finite length may cost

METHODS = [jf.mclmc, jf.adjusted_mclmc]


@pytest.mark.parametrize(
    ("method", "slack"),
    [
        (jf.adjusted_mclmc, 0.0),
        (jf.mclmc, BIASED),
        (partial(jf.mclmc, energy_variance=1e-6, thinning=30), 0.0),
    ],
)
def test_the_exact_posterior_is_met(problem, target, method, slack):
    chains = method(*target, KEY, starts=problem.start)
    assert chains.diagnostics["rhat"] < 1.02 and chains.diagnostics["divergences"] == 0
    std = problem.exact.std
    assert_mean(draws_of(chains, KEY), problem.exact, slack=slack * std)
    assert_covariance(draws_of(chains, KEY), problem.exact, slack=slack * np.outer(std, std))


@pytest.mark.parametrize(("method", "slack"), [(jf.adjusted_mclmc, 0.0), (jf.mclmc, BIASED)])
@pytest.mark.parametrize("adapt_mass", [True, False])
def test_gaussians_of_many_shapes_are_met(method, slack, adapt_mass):
    problem = GaussianTarget.random(jax.random.key(3), dimension=20, condition=100.0)
    thinning = 20 if method is jf.mclmc else 2
    options = {"adapt_mass": adapt_mass, "thinning": thinning}
    chains = method(problem.model, problem.data, KEY, starts=problem.start, **options)
    std = problem.exact.std
    assert_mean(draws_of(chains, KEY), problem.exact, slack=slack * std)
    assert_covariance(draws_of(chains, KEY), problem.exact, slack=slack * np.outer(std, std))


def test_acceptance_and_energy_are_those_asked_for(problem, target):
    adjusted = jf.adjusted_mclmc(*target, KEY, starts=problem.start, target_accept=0.8)
    assert adjusted.diagnostics["accept_prob"] == pytest.approx(0.8, abs=0.1)
    for aim in (1e-2, 1e-4):
        chains = jf.mclmc(*target, KEY, starts=problem.start, energy_variance=aim)
        assert aim / 3 < chains.diagnostics["energy_variance"] < 3 * aim
    assert jf.mclmc(*target, KEY, starts=problem.start).diagnose().converged


def test_long_steps_are_not_trusted(problem, target):
    chains = jf.mclmc(*target, KEY, starts=problem.start, energy_variance=0.1)
    assert "variance of the energy" in str(chains.diagnose())


@pytest.mark.parametrize("method", METHODS)
def test_weights_of_all_scales_start_far_from_their_posterior(method):
    """Four orders of magnitude: without the right first steps and mass, chains stay away."""
    scales = {"bias": jnp.array([1e-3, 1e-2]), "kernel": jnp.array([[1.0], [10.0]])}
    prior = prior_of(scales)
    starts = lambda key: jax.tree.map(lambda s: 3 * s * jax.random.normal(key, s.shape), scales)
    chains = method(*prior_alone(prior), KEY, starts=starts, num_warmup=8000)
    stds = jax.tree.map(lambda v: jnp.sqrt(v), chains.variance())
    jax.tree.map(lambda std, s: np.testing.assert_allclose(std, s, rtol=0.2), stds, scales)


def test_every_chain_is_tuned_to_its_own_mode():
    """Two modes that no chain leaves, one ten times as narrow as the other."""

    def apply(variables, x):
        w = variables["params"]["w"]
        return jnp.where(w[0] > 0, 10 * (w - 50), w + 50)[None]

    prior, likelihood = jf.priors.Gaussian(1e4), jf.likelihoods.Gaussian(1.0)
    model = jf.Model(apply, prior=prior, likelihood=likelihood)
    data = jnp.zeros((1, 1)), jnp.zeros((1, 10))
    modes, stds = np.array([-50.0, 50.0]), np.array([1.0, 0.1])
    starts = {"w": jnp.asarray(np.repeat(modes[:, None] + 0.5, 10, 1), jnp.float32)}
    chains = jf.mclmc(model, data, KEY, starts=starts, num_chains=2, num_draws=2000)
    w = np.asarray(chains.params["w"], np.float64)
    np.testing.assert_allclose(w.mean(1), np.repeat(modes[:, None], 10, 1), atol=0.15)
    np.testing.assert_allclose(w.std(1).mean(-1), stds, rtol=0.1)
    energy = np.asarray(chains.statistics["energy_error"]) ** 2
    np.testing.assert_allclose(energy.mean(1), 5e-4, rtol=0.7)


def test_the_effective_sample_size_is_that_of_replicated_chains():
    """By the known variance: ``ESS = σ² / Var[mean of a chain]``."""
    problem = GaussianTarget.random(jax.random.key(3), dimension=20, condition=1.0)
    chains = jf.mclmc(problem.model, problem.data, KEY, starts=problem.start, num_chains=64)
    w = np.concatenate([x.reshape(64, 500, -1) for x in jax.tree.leaves(chains.params)], -1)
    exact = 1.0 / w.mean(1).var(0).mean()
    assert jf.metrics.ess(w).mean() / 64 == pytest.approx(exact, rel=0.2)
    # Ten steps of the tuned chain are worth a third of an independent draw, or more.
    assert exact > 500 / 3


def test_equal_calls_are_equal_and_compile_once(problem, target, caplog):
    run = lambda key: flat(
        jf.mclmc(*target, key, starts=problem.start, num_warmup=60, num_draws=10).params
    )
    first = run(KEY)
    with jax.log_compiles():
        np.testing.assert_array_equal(run(KEY), first)
        assert (run(jax.random.key(5)) != first).any()
    assert not [record for record in caplog.messages if "Compiling jit(_" in record]


@pytest.mark.parametrize("method", METHODS)
def test_a_chain_is_the_same_alone_as_among_others(problem, target, method):
    """Each is tuned by itself; few steps, since rounding grows exponentially along a trajectory."""
    options = {"precision": "float64", "num_warmup": 30, "num_draws": 10}
    run = lambda **o: flat(method(*target, KEY, starts=problem.start, **options, **o).params)
    together = run(num_chains=2)
    np.testing.assert_allclose(run(num_chains=1)[0], together[0], rtol=1e-4)
    np.testing.assert_allclose(run(num_chains=2, devices=jax.devices()), together, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_goes_on_where_it_was(problem, target, tmp_path, method):
    run = lambda directory: method(
        *target, KEY, starts=problem.start, num_warmup=60, num_draws=10, directory=directory
    )
    whole = run(None)
    jax.tree.map(np.testing.assert_array_equal, whole, run(tmp_path))
    jax.tree.map(np.testing.assert_array_equal, whole, run(tmp_path))


def test_chains_start_from_the_members_of_an_ensemble():
    """MILE: members are trained, and each is where a chain begins and is tuned."""
    x = jax.random.normal(jax.random.key(0), (60, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    net = nn.Sequential([nn.Dense(8), nn.tanh, nn.Dense(2)])
    model = jf.Model(
        net.apply, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical()
    )
    method = jf.ensemble(jf.maximum_a_posteriori(model, optax.adam(3e-2)), 3)
    init = lambda key: net.init(key, x)["params"]
    ensemble = jf.fit(method, init, (x, y), KEY, num_steps=200).posterior
    chains = jf.mclmc(model, (x, y), KEY, starts=ensemble, num_chains=3, num_warmup=1000)
    assert chains.diagnostics["divergences"] == 0
    prediction = jf.predict(net.apply, chains, x, KEY, num_samples=50)
    assert (prediction.probs.argmax(-1) == y).mean() > 0.9
    # Still the posterior: NUTS from the same starts has the same log joint.
    nuts = jf.nuts(model, (x, y), KEY, starts=ensemble, num_chains=3, num_warmup=200)
    means = [c.statistics["log_joint"].mean() for c in (chains, nuts)]
    assert means[0] == pytest.approx(means[1], abs=1.0)


@pytest.mark.parametrize("method", METHODS)
def test_one_weight_has_no_direction(method):
    with pytest.raises(jf.InputError, match="at least 2 weights"):
        method(*prior_alone(jf.priors.Gaussian(1.0)), KEY, starts=lambda key: {"w": jnp.ones(1)})


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (jf.mclmc, {"energy_variance": 0.0}),
        (jf.mclmc, {"energy_variance": float("nan")}),
        (jf.adjusted_mclmc, {"target_accept": 1.0}),
    ],
)
def test_bad_input(problem, target, method, options):
    with pytest.raises(jf.InputError, match=next(iter(options))):
        method(*target, KEY, starts=problem.start, **options)


# What warm-up learns


def test_moments_are_those_of_all_points():
    x = 100 + jax.random.normal(KEY, (50, 3))
    weights = jax.random.uniform(KEY, (50,)).at[:5].set(0)
    moments = Moments.none(x[0])
    for point, weight in zip(x, weights):
        moments = moments.add(point, weight)
    np.testing.assert_allclose(moments.mean, np.average(x, 0, weights), rtol=1e-5)
    expected = np.average((np.asarray(x) - np.average(x, 0, weights)) ** 2, 0, weights)
    np.testing.assert_allclose(moments.variance, expected, rtol=1e-4)


def test_the_step_size_is_found_from_single_errors():
    """Of a target whose error in energy is ``7 ε³`` times a normal number."""

    def step(carry, noise):
        tuner, size = carry
        tuner = tuner.after((7 * size**3 * noise) ** 2 / 1e-2, size, jnp.array(True))
        return (tuner, tuner.step_size(size)), None

    start = (EnergyTuner.fresh(jnp.dtype("float32")), jnp.array(5.0))
    (_, size), _ = jax.lax.scan(step, start, jax.random.normal(KEY, (2000,)))
    assert float(size) == pytest.approx((0.1 / 7) ** (1 / 3), rel=0.2)


def test_a_step_out_of_the_numbers_is_shortened():
    tuner = EnergyTuner.fresh(jnp.dtype("float32"))
    tuner = tuner.after(jnp.array(jnp.nan), jnp.array(2.0), jnp.array(False))
    assert float(tuner.step_size(jnp.array(2.0))) == pytest.approx(1.6)


@pytest.mark.parametrize("adapt_mass", [True, False])
def test_the_length_is_the_radius_of_the_target(adapt_mass):
    """In units of the mass; with the mass that fits, the step keeps what it is in space."""
    variance, mass = np.array([1.0, 4.0, 16.0]), np.array([2.0, 2.0, 0.0625])
    tuned = Tuned.first({"w": jnp.zeros(3)}, jnp.asarray(mass, "float32"))
    moments = tuned.moments
    for sign in (-1.0, 1.0):
        moments = moments.add(jnp.asarray(5 + sign * np.sqrt(variance), "float32"), jnp.array(1.0))
    tuned = tuned._replace(step_size=jnp.array(0.3), moments=moments)
    after = tuned.rescaled(adapt_mass=adapt_mass, factor=0.5)
    radius = np.sqrt((variance / mass).sum())
    if adapt_mass:
        expected = 0.3 * np.sqrt(3) / radius, 0.5 * np.sqrt(3), variance
    else:
        expected = 0.3, 0.5 * radius, mass
    for value, right in zip(after[:3], expected, strict=True):
        np.testing.assert_allclose(value, right, rtol=1e-5)
    assert float(after.moments.total) == 0


@pytest.mark.parametrize(
    ("rho", "num_moving", "length"), [(0, 1, 50), (0, 30, 500), (0.9, 30, 500)]
)
def test_batch_means_find_the_autocorrelation_time(rho, num_moving, length):
    """Of an autoregression, ``(1 + ρ) / (1 − ρ)``; a weight that does not move has no say."""
    noise = jax.random.normal(KEY, (20_000, num_moving)) @ jnp.eye(num_moving, num_moving + 1)

    def step(carry, new):
        x, batches, place = carry
        x = rho * x + jnp.sqrt(1 - rho**2) * new
        return (x, batches.add(x, place, length, jnp.array(True)), place + 1), None

    start = (noise[0], BatchMeans.none(noise[0]), jnp.array(1))
    (_, batches, _), _ = jax.lax.scan(step, start, noise)
    assert float(batches.time(length)) == pytest.approx((1 + rho) / (1 - rho), rel=0.15)
