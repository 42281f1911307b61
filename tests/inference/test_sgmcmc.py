import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import jfractal as jf
from jfractal.inference.mass import mean_square
from jfractal.inference.pace import Found
from jfractal.training import scan
from tests.inference.conftest import flat

KEY = jax.random.key(0)


def draws(method, problem, start, num_steps):
    run = lambda params: scan(method, params, problem.data, KEY, num_steps=num_steps)[0]
    posterior = jax.jit(run)(start)
    assert isinstance(posterior, jf.Samples)
    return flat(posterior.params)


@pytest.mark.parametrize("has_mass", [False, True])
def test_without_heat_it_is_gradient_descent_with_momentum(problem, has_mass):
    rate, momentum = 0.05, 0.5
    mass = {"bias": jnp.array([0.01]), "kernel": jnp.array([[0.02], [0.03]])}
    scale = flat(mass) if has_mass else 1 / len(problem.x)
    method = jf.sghmc(
        problem.model,
        learning_rate=rate,
        momentum=momentum,
        inverse_mass=mass if has_mass else None,
        num_warmup=1,
        num_draws=3,
        thinning=2,
        temperature=0.0,
    )
    start = problem.start(KEY)
    w, v, path = flat(start), np.zeros(3), []
    for _ in range(7):
        v = momentum * v - rate * scale * (problem.precision @ (w - problem.mean))
        w = w + v
        path.append(w)
    kept = draws(method, problem, start, 7)
    np.testing.assert_allclose(kept, path[2::2], rtol=1e-4, atol=1e-5)


def test_the_last_draws_are_kept_the_oldest_first(problem):
    """However long the ring is, it holds the end of the same chain, and no draw is lost."""

    def kept(num_draws, num_steps):
        method = jf.sgld(problem.model, learning_rate=0.01, num_draws=num_draws, thinning=3)
        state = method.init(problem.start(KEY), KEY)

        def step(state, key):
            return method.update(state, problem.data, key)

        keys = jax.vmap(lambda i: jax.random.fold_in(KEY, i))(jnp.arange(num_steps))
        state, _ = jax.jit(lambda s: jax.lax.scan(step, s, keys))(state)
        return flat(method.posterior(state).params)

    every = kept(10, 30)
    assert every.shape == (10, 3)
    np.testing.assert_array_equal(kept(4, 30), every[-4:])
    np.testing.assert_array_equal(kept(10, 14), every[:4])  # fewer than there is room for
    np.testing.assert_array_equal(kept(10, 2).shape, (1, 3))  # none: the weights as they are


def test_temperature_is_a_factor_of_the_variance(problem):
    def deviations(temperature):
        method = jf.sgld(
            problem.model,
            learning_rate=0.01,
            num_warmup=2000,
            num_draws=100,
            thinning=1,
            temperature=temperature,
        )
        start = jax.tree.map(jnp.zeros_like, problem.start(KEY))
        return draws(method, problem, start, 2100) - problem.mean

    # The same noise, a quarter of it: the chains differ by that factor alone.
    np.testing.assert_allclose(deviations(1.0 / 16), deviations(1.0) / 4, rtol=0.01, atol=1e-3)


def test_cycles():
    rate = jf.cosine_cycles(2.0, 4)
    half = 1 + np.sqrt(0.5)
    np.testing.assert_allclose(
        [rate(k) for k in range(6)], [2, half, 1, 2 - half, 2, half], rtol=1e-6
    )


def test_the_end_of_a_cycle_is_colder_than_its_start(problem):
    """What the learning rate of SGLD scales is how far two steps in a row are apart."""
    rate = jf.cosine_cycles(0.05, 10)
    method = jf.sgld(problem.model, learning_rate=rate, num_draws=1000, thinning=1)
    path = draws(method, problem, problem.start(KEY), 1000)
    steps = np.square(np.diff(path, axis=0)).sum(-1)
    by_phase = np.append(steps, np.nan).reshape(-1, 10)[10:-1].mean(0)
    assert by_phase[9] > 20 * by_phase[8]  # the first step of a cycle, and the last


def test_the_mean_square_forgets_by_a_power_of_time():
    """Against the recursion written out: gradient i counts like (i + 1) (i + 2) (i + 3)."""
    gradients = np.random.default_rng(0).normal(size=20)
    v = {"w": jnp.zeros(())}
    for step, g in enumerate(gradients):
        v = mean_square(
            v,
            {"w": jnp.asarray(g, jnp.float32)},
            jnp.asarray(step),
            num_data=10,
            temperature=0.5,
            inverse_mass={"w": jnp.asarray(2.0)},
        )
    i = np.arange(21.0)  # the first stands for what there was before any gradient
    weights = np.where(i == 0, 24, 4 * (i + 1) * (i + 2) * (i + 3) * (i > 0))
    squares = np.append(0.5 / 2.0, (10 * gradients) ** 2)
    np.testing.assert_allclose(v["w"], weights @ squares / weights.sum(), rtol=1e-4)


@pytest.mark.parametrize("share", [0.1, 0.6])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("temperature", "batch_size"), [(1.0, 10), (0.3, 10), (0.3, 100)])
def test_a_pace_that_is_found_keeps_every_variance(share, momentum, temperature, batch_size):
    """The stationary variance of the chain's linear recursion, by Lyapunov's equation, is T / H."""
    curvature = np.array([0.5, 3.0, 40.0])
    of_batches = (100 / batch_size - 1) * curvature
    memory = {"w": jnp.asarray(temperature * curvature + of_batches, jnp.float32)}
    pace = Found(share, momentum, temperature, 10, None)
    step = pace.at(jnp.asarray(10), memory, memory, batch_size, 100)
    for i, h in enumerate(curvature):
        size, brought = float(step.sizes["w"][i]), float(step.brought["w"][i])
        noise = 2 * (1 - momentum) * size * temperature - brought + size**2 * of_batches[i]
        assert brought <= 2 * (1 - momentum) * size * temperature
        pull = np.array([[1 - size * h, momentum], [-size * h, momentum]])
        covariance = scipy.linalg.solve_discrete_lyapunov(pull, np.full((2, 2), noise))
        np.testing.assert_allclose(covariance[0, 0], temperature / h, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"num_warmup": -1},
        {"num_draws": 0},
        {"thinning": 0},
        {"momentum": 1.0},
        {"temperature": -1.0},
        {"num_draws": 1.5},
        {"learning_rate": 0.0},
        {"noise_share": 0.0},
        {"noise_share": 1.5},
        {"inverse_mass": {"bias": jnp.array([1.0]), "kernel": jnp.array([[0.0], [1.0]])}},
        {"inverse_mass": {"bias": jnp.array([1])}},
        {"learning_rate": None},
        {"learning_rate": None, "num_warmup": 10, "temperature": 0.0},
    ],
)
def test_bad_input(problem, options):
    with pytest.raises(jf.InputError, match=next(iter(options))):
        jf.sghmc(problem.model, **{"learning_rate": 0.1, **options})


def test_a_mass_must_be_of_the_weights(problem):
    method = jf.sgld(problem.model, learning_rate=0.1, inverse_mass={"w": jnp.ones(3)})
    with pytest.raises(jf.InputError, match="`inverse_mass` must be a tree of variances"):
        method.init(problem.start(KEY), KEY)


@pytest.mark.parametrize("arguments", [(0.0, 10), (0.1, 0)])
def test_bad_cycles(arguments):
    with pytest.raises(jf.InputError, match=r"learning_rate|cycle_length"):
        jf.cosine_cycles(*arguments)
