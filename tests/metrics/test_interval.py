from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jfractal.errors import InputError
from jfractal.metrics import credible_interval, gaussian_mixture_interval

RNG = np.random.default_rng(0)
DRAWS = RNG.normal(0, 1, (37, 2, 3)).astype(np.float32)


@pytest.mark.parametrize("mass", [0.5, 0.9, 0.99])
def test_quantiles_meet_numpy(run, mass):
    weights = RNG.random(37)
    tails = [(1 - mass) / 2, (1 + mass) / 2]
    for w in (None, weights):
        expected = np.quantile(DRAWS, tails, axis=0, weights=w, method="inverted_cdf")
        actual = run(partial(credible_interval, mass=mass))(
            DRAWS, log_weights=None if w is None else np.log(w).astype(np.float32)
        )
        np.testing.assert_array_equal(jnp.stack(actual), expected)


def test_one_draw_is_its_own_interval():
    interval = credible_interval(DRAWS[:1], mass=0.95)
    np.testing.assert_array_equal(interval.lower, DRAWS[0])
    np.testing.assert_array_equal(interval.upper, DRAWS[0])


def test_an_interval_of_normals_has_its_tails(run):
    means, scales = RNG.normal(0, 3, (5, 2)).astype(np.float32), RNG.uniform(0.1, 2, (5, 2))
    scales = scales.astype(np.float32)
    actual = run(partial(gaussian_mixture_interval, mass=0.9))(means, scales)
    for bounds, q in zip(actual, (0.05, 0.95)):
        below = scipy.stats.norm.cdf(bounds, means, scales).mean(0)
        np.testing.assert_allclose(below, q, atol=1e-5)


def test_one_component_is_a_normal():
    interval = gaussian_mixture_interval(jnp.array([[2.0]]), jnp.array([[0.5]]), mass=0.95)
    np.testing.assert_allclose(interval.lower, 2 - 0.5 * 1.959964, rtol=1e-5)
    np.testing.assert_allclose(interval.upper, 2 + 0.5 * 1.959964, rtol=1e-5)


def test_bad_input(refused):
    for mass in (0.0, 1.0, float("nan")):
        with pytest.raises(InputError, match="`mass` must be between 0 and 1, got"):
            credible_interval(DRAWS, mass=mass)
    with refused("draws"):
        credible_interval(DRAWS[:0], mass=0.5)
    with refused("log_weights"):
        credible_interval(DRAWS, mass=0.5, log_weights=jnp.zeros(3))
    with refused("scales"):
        gaussian_mixture_interval(jnp.zeros((3, 2)), jnp.ones((3, 4)), mass=0.5)
