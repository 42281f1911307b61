import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from tests.inference.conftest import flat


def test_without_heat_it_is_gradient_descent_with_momentum(problem):
    rate, momentum = 0.05, 0.5
    q = jf.sghmc(
        problem.log_joint,
        problem.init,
        jax.random.key(0),
        learning_rate=rate,
        momentum=momentum,
        num_warmup=1,
        num_samples=3,
        thinning=2,
        temperature=0.0,
    )
    key_init, _ = jax.random.split(jax.random.key(0))
    w, v, path = flat(problem.init(key_init)), np.zeros(3), []
    for _ in range(7):
        v = momentum * v - rate * problem.precision @ (w - problem.mean) / len(problem.x)
        w = w + v
        path.append(w)
    np.testing.assert_allclose(flat(q.params), path[2::2], rtol=1e-4, atol=1e-5)


def test_temperature_is_a_factor_of_the_variance(problem):
    def draws(temperature):
        q = jf.sgld(
            problem.log_joint,
            lambda key: jax.tree.map(jnp.zeros_like, problem.init(key)),
            jax.random.key(0),
            learning_rate=0.01,
            num_warmup=2000,
            num_samples=100,
            temperature=temperature,
        )
        return flat(q.params) - problem.mean

    # The same noise, a quarter of it: the chains differ by that factor alone.
    np.testing.assert_allclose(draws(1.0 / 16), draws(1.0) / 4, rtol=0.01, atol=1e-3)


def test_cycles():
    rate = jf.cosine_cycles(2.0, 4)
    half = 1 + np.sqrt(0.5)
    np.testing.assert_allclose(
        [rate(k) for k in range(6)], [2, half, 1, 2 - half, 2, half], rtol=1e-6
    )


def test_the_end_of_a_cycle_is_colder_than_its_start(problem):
    """What the learning rate of SGLD scales is how far two steps in a row are apart."""
    q = jf.sgld(
        problem.log_joint,
        problem.init,
        jax.random.key(0),
        learning_rate=jf.cosine_cycles(0.05, 10),
        num_warmup=0,
        num_samples=1000,
    )
    steps = np.square(np.diff(flat(q.params), axis=0)).sum(-1)
    by_phase = np.append(steps, np.nan).reshape(-1, 10)[10:-1].mean(0)
    assert by_phase[9] > 20 * by_phase[8]  # the first step of a cycle, and the last


@pytest.mark.parametrize(
    "options",
    [
        {"num_warmup": -1},
        {"num_samples": 0},
        {"thinning": 0},
        {"momentum": 1.0},
        {"temperature": -1.0},
        {"num_samples": 1.5},
        {"learning_rate": 0.0},
    ],
)
def test_bad_input(problem, options):
    valid = {"learning_rate": 0.1, "num_warmup": 0, "num_samples": 1}
    with pytest.raises(jf.InputError, match=next(iter(options))):
        jf.sghmc(problem.log_joint, problem.init, jax.random.key(0), **{**valid, **options})


@pytest.mark.parametrize("arguments", [(0.0, 10), (0.1, 0)])
def test_bad_cycles(arguments):
    with pytest.raises(jf.InputError, match="learning_rate"):
        jf.cosine_cycles(*arguments)
