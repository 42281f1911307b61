"""NUTS and HMC: draws of the exact posterior, whatever they run on."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import HMC

import jfractal as jf
from jfractal.testing import assert_covariance, assert_mean, draws_of
from tests.inference.conftest import flat
from tests.inference.mcmc.conftest import prior_alone, prior_of

KEY = jax.random.key(4)
SHORT = {"num_warmup": 30, "num_draws": 20}

# Compiles in half the time of `nuts`.
hmc = partial(jf.hmc, trajectory_length=1.5)


@pytest.mark.parametrize("method", [jf.nuts, hmc])
def test_hamiltonian_monte_carlo_meets_the_exact_posterior(problem, target, method):
    posterior = method(
        *target, jax.random.key(2), starts=problem.start, num_warmup=400, num_draws=1000
    )
    assert posterior.diagnostics["rhat"] < 1.02 and posterior.diagnostics["divergences"] == 0
    draws = draws_of(posterior, KEY)
    assert draws.shape == (4, 1000, 3)
    assert_mean(draws, problem.exact)
    assert_covariance(draws, problem.exact)


@pytest.mark.parametrize("batch_size", [None, 7])
def test_draws_are_those_of_numpyro(problem, target, batch_size):
    """In double precision, also where the likelihood is summed in chunks."""
    options = {"precision": "float64", "batch_size": batch_size, **SHORT}
    chains = hmc(*target, KEY, starts=problem.start, num_chains=2, **options)
    key_init, key_run = jax.random.split(KEY)
    starts = jax.vmap(problem.start)(jax.random.split(key_init, 2))
    with jax.enable_x64(True):
        starts = jax.tree.map(lambda w: jnp.asarray(w, "float64"), starts)
        potential = lambda w: -target[0].log_joint(w, target[1])
        kernel = HMC(potential_fn=potential, trajectory_length=1.5)
        state = kernel.init(jax.random.split(key_run, 2), 30, starts)
        step = jax.jit(lambda state: kernel.sample(state, (), {}))
        draws = []
        for _ in range(50):
            state = step(state)
            draws.append(state.z["kernel"])
    np.testing.assert_allclose(jnp.stack(draws[30:], 1), chains.params["kernel"], rtol=1e-5)


def test_a_temperature_widens_the_posterior(problem, target):
    chains = hmc(
        *target, KEY, starts=problem.start, temperature=4.0, num_warmup=300, num_draws=1000
    )
    hot = jf.testing.Moments(problem.mean, 4 * problem.covariance)
    assert_mean(draws_of(chains, KEY), hot)
    assert_covariance(draws_of(chains, KEY), hot)


def test_one_chain(problem, target):
    chains = jf.nuts(*target, KEY, starts=problem.start, num_chains=1, **SHORT)
    assert flat(chains.params).shape == (1, 20, 3)


@pytest.mark.parametrize("method", [pytest.param(jf.nuts, marks=pytest.mark.slow), hmc])
def test_a_chain_is_the_same_alone_as_among_others(problem, target, method):
    """In double precision, in which rounding does not part the trajectories so soon."""
    run = lambda **options: flat(
        method(*target, KEY, starts=problem.start, precision="float64", **SHORT, **options).params
    )
    together = run(num_chains=2)
    np.testing.assert_allclose(run(num_chains=1)[0], together[0], rtol=1e-4)
    np.testing.assert_allclose(run(num_chains=2, devices=jax.devices()), together, rtol=1e-4)


def test_thinning_skips_draws(problem, target):
    run = lambda **options: hmc(*target, KEY, starts=problem.start, num_warmup=30, **options)
    every, third = run(num_draws=12), run(num_draws=4, thinning=3)
    np.testing.assert_array_equal(flat(every.params)[:, 2::3], flat(third.params))
    gradients = every.statistics["num_gradients"].reshape(4, 4, 3).sum(-1)
    np.testing.assert_array_equal(gradients, third.statistics["num_gradients"])


def test_the_mass_matrix_starts_from_a_mean_field_fit():
    """Given the exact variances, the first steps are as good as adapted ones."""
    scales = {"bias": jnp.array([1e-3]), "kernel": jnp.array([[1.0], [1e3]])}
    prior = prior_of(scales)
    starts = lambda key: jax.tree.map(lambda s: s * jax.random.normal(key, s.shape), scales)
    run = lambda inverse_mass: jf.nuts(
        *prior_alone(prior),
        jax.random.key(0),
        starts=starts,
        inverse_mass=inverse_mass,
        num_warmup=15,
        num_draws=20,
    )
    warm, cold = run(jax.tree.map(jnp.square, scales)), run(None)
    assert warm.warmup_gradients.sum() < cold.warmup_gradients.sum() / 5


def test_quarter_period_takes_a_gaussian_from_its_centre_to_its_shell():
    """Along ``σ √T sin(t / σ √T)``, which a momentum of temperature T follows."""
    assert jf.inference.quarter_period(2.0, temperature=0.25) == pytest.approx(np.pi / 2)
    with pytest.raises(jf.InputError, match="temperature"):
        jf.inference.quarter_period(2.0, temperature=0.0)


@pytest.mark.parametrize("method", [jf.nuts, hmc, jf.mclmc, jf.adjusted_mclmc])
def test_an_equal_call_compiles_once(problem, target, method):
    compiled = []
    listen = lambda event, _, **kwargs: compiled.append(event) if "backend" in event else None
    run = lambda model: method(
        model, target[1], KEY, starts=lambda key: problem.start(key), batch_size=11, **SHORT
    )
    run(problem.model)
    jax.monitoring.register_event_duration_secs_listener(listen)
    run(problem.model)
    assert not compiled
