import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jfractal.metrics import Estimate, bootstrap, ece, rmse, wasserstein

RNG = np.random.default_rng(0)
VALUES = RNG.gamma(2.0, size=300)


def test_interval_of_a_mean_is_that_of_scipy(getkey):
    value, lower, upper = bootstrap(jnp.mean, (VALUES,), getkey(), num_resamples=4000)
    expected = stats.bootstrap(
        (VALUES,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(1)
    )
    assert value == pytest.approx(VALUES.mean(), rel=1e-6)
    # A 2.5 % quantile of 4000 normal draws has a standard error of 0.042 of their deviation.
    tolerance = 4 * np.sqrt(2) * 0.042 * expected.standard_error
    np.testing.assert_allclose((lower, upper), expected.confidence_interval, atol=tolerance)


@pytest.mark.parametrize("mass", [0.5, 0.9])
def test_resampled_share_is_binomial(getkey, mass):
    hits = np.arange(50) < 20
    found = bootstrap(jnp.mean, (hits,), getkey(), mass=mass, num_resamples=4000)
    exact = stats.binom.ppf([(1 - mass) / 2, (1 + mass) / 2], 50, 0.4) / 50
    assert found.value == pytest.approx(0.4)
    np.testing.assert_allclose(found[1:], exact, atol=1.01 / 50)  # the next value at most


def test_interval_holds_the_truth_as_often_as_it_says(getkey):
    data = jax.random.normal(getkey(), (400, 100))
    keys = jax.random.split(getkey(), 400)
    found = jax.vmap(lambda x, key: bootstrap(jnp.mean, (x,), key, num_resamples=300))(data, keys)
    share = np.mean((found.lower <= 0) & (found.upper >= 0))
    assert share == pytest.approx(0.945, abs=4 * np.sqrt(0.05 * 0.95 / 400))


def test_arrays_are_resampled_together(getkey):
    probs = jax.nn.softmax(jax.random.normal(getkey(), (40, 3)))
    labels = jnp.arange(40) % 3
    gap = lambda p, q, y: ece(p, y) - ece(q, y)
    np.testing.assert_array_equal(bootstrap(gap, (probs, probs, labels), getkey()), 0.0)
    # An error of exactly 1 at every example stays so only if the pairs do.
    targets = np.arange(40.0)
    np.testing.assert_array_equal(bootstrap(rmse, (targets, targets + 1), getkey()), 1.0)


def test_every_number_of_a_tree_has_its_estimate(getkey):
    data, key = RNG.normal(size=(30, 2)), getkey()
    statistic = lambda x: {"mean": jnp.mean(x, axis=0), "first": {"max": jnp.max(x[:, 0])}}
    found = bootstrap(statistic, (data,), key)
    assert isinstance(found["mean"], Estimate)
    assert [bound.shape for bound in found["mean"]] == [(2,)] * 3
    assert found["first"]["max"].upper == pytest.approx(data[:, 0].max())
    first = bootstrap(jnp.mean, (data[:, 0],), key)
    np.testing.assert_allclose([bound[0] for bound in found["mean"]], first, rtol=1e-5)


def test_the_key_decides(getkey):
    key = getkey()
    assert bootstrap(jnp.mean, (VALUES,), key) == bootstrap(jnp.mean, (VALUES,), key)
    assert bootstrap(jnp.mean, (VALUES,), key) != bootstrap(jnp.mean, (VALUES,), getkey())


def test_distance_of_draws_has_an_interval(getkey):
    # Each point has its own shift between the two predictives, which is then their distance.
    shift = np.linspace(0.0, 2.0, 101)
    x = RNG.normal(size=(200, 1)) + np.zeros(101)
    found = bootstrap(jnp.mean, (wasserstein(x, x + shift),), getkey())
    assert found.value == pytest.approx(1.0, rel=1e-5)
    half = 1.96 * shift.std() / np.sqrt(101)
    np.testing.assert_allclose(found[1:], (1 - half, 1 + half), atol=0.3 * half)


def test_bad_input(refused, getkey):
    for examples in ((), (np.zeros(0),), (np.zeros(3), np.zeros(2)), (np.float64(1.0),)):
        with refused("examples"):
            bootstrap(jnp.mean, examples, getkey())
    with refused("mass"):
        bootstrap(jnp.mean, (VALUES,), getkey(), mass=1.0)
    with refused("num_resamples"):
        bootstrap(jnp.mean, (VALUES,), getkey(), num_resamples=0)
