import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jfractal.metrics import crps, crps_gaussian, rmse

RNG = np.random.default_rng(0)


def by_quadrature(cdf, y):
    t = np.linspace(-30, 30, 600_001)
    return np.trapezoid((cdf(t) - (t >= y)) ** 2, t)


@pytest.mark.parametrize(
    ("y", "mean", "scale"), [(0.0, 0.0, 1.0), (1.3, -0.4, 0.5), (9.0, 0.0, 2.0)]
)
def test_crps_of_a_normal_meets_its_integral(run, y, mean, scale):
    expected = by_quadrature(lambda t: scipy.stats.norm.cdf(t, mean, scale), y)
    actual = run(crps_gaussian)(*(jnp.full(2, v) for v in (y, mean, scale)))
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_crps_of_a_normal_at_its_mean():
    assert crps_gaussian(0.0, 0.0, 1.0) == pytest.approx((2**0.5 - 1) / np.pi**0.5, rel=1e-6)


def test_crps_of_draws_meets_its_integral_and_all_pairs(run):
    draws, y = RNG.normal(1, 2, (7, 3)).astype(np.float32), np.array([0.5, 4.0, -8.0], np.float32)
    actual = run(crps)(y, draws)
    pairs = np.abs(draws[:, None] - draws).mean((0, 1))
    np.testing.assert_allclose(actual, np.abs(draws - y).mean(0) - pairs / 2, rtol=1e-5)
    for value, x, target in zip(actual, draws.T, y):
        step = scipy.stats.ecdf(x).cdf.evaluate
        assert value == pytest.approx(by_quadrature(step, target), rel=1e-3)


def test_one_draw_has_its_absolute_error():
    np.testing.assert_allclose(crps(jnp.array([1.0, 2.0]), jnp.array([[3.0, 1.5]])), [2, 0.5])


def test_many_draws_meet_the_closed_form():
    draws = RNG.normal(0.3, 1.5, 40_000).astype(np.float32)
    assert crps(1.0, draws) == pytest.approx(float(crps_gaussian(1.0, 0.3, 1.5)), rel=0.03)


def test_rmse(run):
    y, mean = RNG.normal(size=(2, 5, 3)).astype(np.float32)
    assert run(rmse)(y, mean) == pytest.approx(np.sqrt(((y - mean) ** 2).mean()), rel=1e-6)


def test_shapes_must_agree(refused):
    with refused("y"):
        rmse(jnp.zeros((5, 1)), jnp.zeros(5))
    with refused("y"):
        crps_gaussian(jnp.zeros(5), jnp.zeros(5), jnp.zeros(4))
    with refused("draws"):
        crps(jnp.zeros(5), jnp.zeros((3, 4)))
