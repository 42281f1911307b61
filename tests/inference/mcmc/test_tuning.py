"""What chains learn in warm-up, beside closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal.inference.mcmc.tuning import BatchMeans

LENGTH, NUM_POINTS = 50, 40_000


@jax.jit
def time_of(points):
    """The autocorrelation time of a chain, "points weights"."""

    def add(means, point):
        place, x = point
        return means.add(x, place, LENGTH, jnp.array(True)), None

    places = jnp.arange(1, len(points) + 1)
    means, _ = jax.lax.scan(add, BatchMeans.none(points[0]), (places, points))
    return means.time(LENGTH)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_the_time_of_an_autoregression(correlation):
    """Of the weights that move, of which there is one."""
    noise = np.random.default_rng(0).standard_normal(NUM_POINTS)
    chain = np.zeros(NUM_POINTS)
    for i in range(1, NUM_POINTS):
        chain[i] = correlation * chain[i - 1] + noise[i]
    points = jnp.asarray(np.stack([chain, np.ones(NUM_POINTS)], 1), "float32")
    expected = (1 + correlation) / (1 - correlation)
    np.testing.assert_allclose(time_of(points), expected, rtol=0.15)


def test_a_chain_that_does_not_move_has_the_least_time():
    assert time_of(jnp.ones((NUM_POINTS, 2))) == 1
