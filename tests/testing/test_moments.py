from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.signal

import jfractal as jf
from jfractal import testing
from jfractal.training import scan

KEY = jax.random.key(0)
PROBLEMS = {
    "regression": testing.ConjugateRegression.random(jax.random.key(1), num_features=3),
    "target": testing.GaussianTarget.random(jax.random.key(1), dimension=5, condition=100.0),
}


@pytest.fixture(params=PROBLEMS)
def problem(request):
    return PROBLEMS[request.param]


def test_a_right_method_passes(problem, newton):
    testing.assert_exact(newton, problem, KEY)


@pytest.mark.parametrize("temperature", [0.8, 1.25])
def test_a_wrong_temperature_is_found_out(problem, newton, temperature):
    with pytest.raises(AssertionError, match=r"the covariance of weights \d and \d must be .* got"):
        testing.assert_exact(partial(newton, temperature=temperature), problem, KEY)


def test_a_bias_is_found_out(problem, newton):
    with pytest.raises(AssertionError, match=r"the mean of weight \d must be .* got"):
        testing.assert_exact(partial(newton, shift=0.1), problem, KEY)
    testing.assert_exact(partial(newton, shift=0.1), problem, KEY, slack=0.15)


def test_the_mean_field_optimum_is_told_from_the_posterior(problem, newton):
    diagonal = partial(newton, diagonal=True)
    testing.assert_mean_field(diagonal, problem, KEY, slack=0.0)
    with pytest.raises(AssertionError, match="covariance"):
        testing.assert_exact(diagonal, problem, KEY)
    with pytest.raises(AssertionError, match="covariance"):
        testing.assert_mean_field(newton, problem, KEY, slack=0.0)


def test_a_method_that_leaves_the_numbers_fails(problem, newton):
    with pytest.raises(AssertionError, match="must be finite"):
        testing.assert_exact(partial(newton, shift=jnp.nan), problem, KEY)


def autoregressive(shape, memory, seed=0):
    """Standard normal draws of chains, each of which remembers the one before: "chains draws"."""
    noise = np.random.default_rng(seed).normal(size=shape)
    noise[:, 1:] *= np.sqrt(1 - memory**2)
    return scipy.signal.lfilter([1.0], [1.0, -memory], noise, axis=1)[..., None]


def test_errors_of_chains_go_by_their_effective_size():
    """A mean that 10,000 independent draws would not forgive."""
    standard = testing.Moments(np.zeros(1), np.eye(1))
    for seed in range(20):
        testing.assert_mean(autoregressive((4, 2500), 0.95, seed), standard)
        testing.assert_covariance(autoregressive((4, 2500), 0.95, seed), standard)
    alone = np.random.default_rng(0).normal(0.1, size=(4, 2500, 1))
    with pytest.raises(AssertionError, match="mean of weight 0"):
        testing.assert_mean(alone, standard)


def test_draws_too_few_to_tell_do_not_pass():
    draws = autoregressive((4, 100), 0.9999)
    with pytest.raises(AssertionError, match="at least 10 effective draws"):
        testing.assert_mean(draws, testing.Moments(np.zeros(1), np.eye(1)))


def test_mean_field_of_two_correlated_weights():
    """By hand: variances s² (1 − ρ²)."""
    moments = testing.Moments(np.ones(2), np.array([[4.0, 1.2], [1.2, 1.0]]))
    optimum = moments.mean_field
    np.testing.assert_allclose(optimum.covariance, np.diag([4.0 * 0.64, 0.64]), rtol=1e-12)
    np.testing.assert_array_equal(optimum.mean, moments.mean)
    np.testing.assert_allclose(moments.std, [2.0, 1.0])


def test_draws_are_those_that_a_posterior_holds():
    params = {"a": jnp.arange(24.0).reshape(2, 6, 2), "b": jnp.zeros((2, 6, 1, 3))}
    one = jf.Samples(jax.tree.map(lambda w: w[0], params))
    several = jf.Ensemble(jf.Samples(params))
    assert testing.draws_of(one, KEY).shape == (1, 6, 5)
    assert testing.draws_of(several, KEY).shape == (2, 6, 5)
    np.testing.assert_array_equal(testing.draws_of(several, KEY)[1, 2, :2], params["a"][1, 2])
    np.testing.assert_array_equal(testing.draws_of(one, KEY)[0], testing.draws_of(several, KEY)[0])


def test_other_posteriors_are_drawn_from():
    params = {"w": jnp.array([1.0, -1.0])}
    draws = testing.draws_of(jf.MeanField(jf.mean_field(params, scale=0.1)), KEY, 400)
    assert draws.shape == (4, 100, 2) and draws.dtype == np.float64
    with pytest.raises(jf.InputError, match="num_draws"):
        testing.draws_of(jf.Point({"params": params}), KEY, 15)


def adam(rate, num_steps=1500):
    return optax.adam(optax.cosine_decay_schedule(rate, num_steps))


def fitted(method, num_steps=1500):
    """A method of a model, as one compiled program."""

    def fit(model, start, data, key):
        return scan(method(model), start, data, key, num_steps=num_steps)[0]

    return fit


def laplace(model, start, data, key, structure="full"):
    mode = fitted(lambda model: jf.maximum_a_posteriori(model, adam(0.1)))
    return jf.laplace(model, mode(model, start, data, key).mean(), data, structure=structure)


def ensemble_of_laplace(model, start, data, key):
    members = [laplace(model, start, data, k) for k in jax.random.split(key)]
    return jf.Ensemble(jax.tree.map(lambda *x: jnp.stack(x), *members))


def chains(method, **options):
    """Four chains, with steps so short that their length does not show."""
    options |= {"num_warmup": 4000, "num_draws": 4000, "thinning": 20}
    return fitted(lambda model: jf.ensemble(method(model, **options), 4), 84_000)


def searching(method, **options):
    """Four chains that find their own step sizes."""
    options |= {"num_warmup": 4000, "num_draws": 1600, "thinning": 10}
    return fitted(lambda model: jf.ensemble(method(model, **options), 4), 20_000)


def sampler(method, **options):
    return lambda model, start, data, key: method(model, data, key, starts=start, **options)


def assert_centred(fit, problem, key, *, slack):
    """What a method can be held to that does not claim to have the posterior's covariance."""
    draws = testing.draws_of(fit(problem.model, problem.start, problem.data, key), key)
    testing.assert_mean(draws, problem.exact, slack=slack * problem.exact.std)


def mean_field(model):
    return jf.variational(model, adam(0.05), num_samples=8, scale=0.1)


def ivon(model):
    rate = optax.cosine_decay_schedule(0.1, 2500)
    return jf.ivon(model, learning_rate=rate, num_samples=8)


def swag(model):
    rate = optax.join_schedules([optax.constant_schedule(0.02), lambda step: 0.005], [1500])
    return jf.swag(model, optax.sgd(rate), num_warmup=1500, thinning=2)


HMC = {"num_warmup": 300, "num_draws": 500}
METHODS = {
    "laplace": (laplace, testing.assert_exact, 0.02),
    "nuts": (sampler(jf.nuts, **HMC), testing.assert_exact, 0.0),
    "hmc": (sampler(jf.hmc, trajectory_length=1.0, **HMC), testing.assert_exact, 0.0),
    "sgld": (chains(jf.sgld, learning_rate=0.005), testing.assert_exact, 0.1),
    "sghmc": (chains(jf.sghmc, learning_rate=0.001), testing.assert_exact, 0.1),
    "sgld, found": (searching(jf.sgld, noise_share=0.05), testing.assert_exact, 0.1),
    "smile": (searching(jf.smile), testing.assert_exact, 0.1),
    "laplace, diagonal": (
        partial(laplace, structure="diagonal"),
        testing.assert_mean_field,
        0.02,
    ),
    "variational": (fitted(mean_field), testing.assert_mean_field, 0.15),
    "ivon": (fitted(ivon, 2500), testing.assert_mean_field, 0.15),
    "maximum_a_posteriori": (
        fitted(lambda model: jf.maximum_a_posteriori(model, adam(0.1))),
        assert_centred,
        0.02,
    ),
    "ensemble": (ensemble_of_laplace, testing.assert_exact, 0.02),
    "swag": (fitted(swag, 3000), assert_centred, 0.1),
}


@pytest.mark.parametrize("method", METHODS)
def test_methods_of_the_library_pass_on_both_problems(problem, method):
    """In as few lines as a method of one's own would take."""
    fit, check, slack = METHODS[method]
    check(fit, problem, KEY, slack=slack)


@pytest.mark.slow
def test_nuts_passes_on_an_ill_conditioned_target():
    target = testing.GaussianTarget.random(KEY, dimension=10, condition=1000.0)
    testing.assert_exact(sampler(jf.nuts, num_warmup=500, num_draws=1000), target, KEY)


def independent(key, num_draws, variance=1.0):
    """Draws of one chain, independent, whose covariance is `variance` times that of the target."""
    target = testing.GaussianTarget.random(jax.random.key(0), dimension=3)
    root = np.linalg.cholesky(target.exact.covariance)
    noise = np.random.default_rng(key).normal(size=(1, num_draws, 3))
    return np.sqrt(variance) * noise @ root.T + target.exact.mean, target.exact


@pytest.mark.parametrize("key", range(20))
def test_a_hundred_exact_draws_pass(key):
    draws, exact = independent(key, 100)
    testing.assert_mean(draws, exact)
    testing.assert_covariance(draws, exact)


@pytest.mark.parametrize("key", range(5))
def test_a_fifth_of_the_variance_is_found_by_two_thousand_draws(key):
    draws, exact = independent(key, 2000, variance=0.8)
    with pytest.raises(AssertionError, match="covariance of weights"):
        testing.assert_covariance(draws, exact)
