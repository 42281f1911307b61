import jax
import numpy as np
from scipy import stats

from jfractal.data import blundell_curve


def test_inputs_are_uniform(getkey):
    x, y = blundell_curve(getkey(), 2000, low=-1.0, high=3.0)
    assert x.shape == y.shape == (2000, 1)
    assert stats.kstest(np.ravel(x), stats.uniform(-1.0, 4.0).cdf).pvalue > 1e-3


def test_moments_where_the_curve_is_known():
    # At x = 0: y = 0.3 sin 2πε + 0.3 sin 4πε + ε. Quadrature over ε gives the moments.
    _, y = blundell_curve(jax.random.key(0), 20_000, low=0.0, high=1e-6)
    noise, weight = np.polynomial.hermite_e.hermegauss(60)
    noise, weight = 0.02 * noise, weight / weight.sum()
    exact = 0.3 * np.sin(2 * np.pi * noise) + 0.3 * np.sin(4 * np.pi * noise) + noise
    std = np.sqrt(weight @ exact**2)
    np.testing.assert_allclose(np.mean(y), 0.0, atol=4 * std / np.sqrt(20_000))
    np.testing.assert_allclose(np.std(y), std, rtol=4 / np.sqrt(2 * 20_000))


def test_the_noise_that_explains_y_is_gaussian(getkey):
    # On [0, 0.1] y grows with ε, so ε can be solved for.
    x, y = (np.ravel(a).astype(np.float64) for a in blundell_curve(getkey(), 500, high=0.1))
    low, high = np.full_like(x, -0.1), np.full_like(x, 0.1)
    for _ in range(50):
        middle = (low + high) / 2
        waves = np.sin(2 * np.pi * (x + middle)) + np.sin(4 * np.pi * (x + middle))
        below = x + 0.3 * waves + middle < y
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    assert stats.kstest(low, stats.norm(0.0, 0.02).cdf).pvalue > 1e-3


def test_the_key_decides(getkey):
    key, other = getkey(), getkey()
    np.testing.assert_array_equal(blundell_curve(key, 5)[1], blundell_curve(key, 5)[1])
    assert not np.array_equal(blundell_curve(key, 5)[1], blundell_curve(other, 5)[1])
