import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal.training import scan
from tests.inference.conftest import flat

KEY = jax.random.key(0)


def draws(method, problem, start, num_steps):
    run = lambda params: scan(method, params, problem.data, KEY, num_steps=num_steps)[0]
    posterior = jax.jit(run)(start)
    assert isinstance(posterior, jf.Samples)
    return flat(posterior.params)


def test_without_heat_it_is_gradient_descent_with_momentum(problem):
    rate, momentum = 0.05, 0.5
    method = jf.sghmc(
        problem.model,
        learning_rate=rate,
        momentum=momentum,
        num_warmup=1,
        num_draws=3,
        thinning=2,
        temperature=0.0,
    )
    start = problem.start(KEY)
    w, v, path = flat(start), np.zeros(3), []
    for _ in range(7):
        v = momentum * v - rate * problem.precision @ (w - problem.mean) / len(problem.x)
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
    ],
)
def test_bad_input(problem, options):
    with pytest.raises(jf.InputError, match=next(iter(options))):
        jf.sghmc(problem.model, **{"learning_rate": 0.1, **options})


@pytest.mark.parametrize("arguments", [(0.0, 10), (0.1, 0)])
def test_bad_cycles(arguments):
    with pytest.raises(jf.InputError, match=r"learning_rate|cycle_length"):
        jf.cosine_cycles(*arguments)
