"""Monte Carlo against closed forms: means and variances within four standard errors."""

import jax
import numpy as np

NUM_DRAWS = 20_000


def draws(function):
    """``function(key)`` at many keys, in float64."""
    keys = jax.random.split(jax.random.key(0), NUM_DRAWS)
    return np.asarray(jax.jit(jax.vmap(function))(keys), np.float64)


def assert_mean(values, expected):
    """The mean over the first axis is the expected one."""
    error = values.std(0) / len(values) ** 0.5
    assert np.all(abs(values.mean(0) - expected) <= 4 * error + 1e-6)


def assert_variance(values, expected):
    """The variance over the first axis is the expected one, whatever the distribution."""
    squares = (values - values.mean(0)) ** 2
    error = squares.std(0) / len(values) ** 0.5
    assert np.all(abs(squares.mean(0) - expected) <= 4 * error + 1e-9)


def assert_moments(values, mean, variance):
    """Mean and variance of the values are the expected ones."""
    assert_mean(values, mean)
    assert_variance(values, variance)
