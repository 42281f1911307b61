import numpy as np
import pytest
from scipy.signal import lfilter

from jfractal.metrics import ess, rhat


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def autoregressive(rng, rho, shape):
    """Stationary AR(1) chains; the first draw has the stationary variance."""
    noise = rng.normal(size=shape)
    noise[:, 0] /= np.sqrt(1 - rho**2)
    return np.asarray(lfilter([1], [1, -rho], noise, axis=1))


def test_independent_draws_have_converged_and_count_fully(rng):
    x = rng.normal(size=(4, 2000, 3))
    assert np.all(rhat(x) < 1.01)
    np.testing.assert_allclose(ess(x), 8000, rtol=0.1)


@pytest.mark.parametrize("rho", [-0.4, 0.5, 0.9])
def test_ess_of_autoregressive_chains_is_closed_form(rng, rho):
    x = autoregressive(rng, rho, (4, 10_000))
    assert ess(x) == pytest.approx((1 - rho) / (1 + rho) * x.size, rel=0.1)


def test_ess_of_anticorrelated_chains_is_capped(rng):
    x = autoregressive(rng, -0.99, (4, 1000))
    assert ess(x) == pytest.approx(4000 * np.log10(4000))


def test_rhat_sees_shifted_chains(rng):
    x = rng.normal(size=(4, 500)) + np.arange(4)[:, None]
    assert rhat(x) > 1.1
    assert ess(x) < 50


def test_rhat_sees_chains_of_different_scale(rng):
    # Equal locations: only the folded draws tell.
    assert rhat(rng.normal(size=(4, 1000)) * np.array([[1], [1], [1], [4]])) > 1.1


def test_rhat_sees_one_chain_drift(rng):
    assert rhat(rng.normal(size=(1, 500)) + np.linspace(0, 4, 500)) > 1.1


def test_heavy_tails_have_converged_too(rng):
    x = rng.standard_cauchy(size=(4, 1000))
    assert rhat(x) < 1.01
    assert ess(x) == pytest.approx(4000, rel=0.15)


def test_ess_depends_on_ranks_only(rng):
    x = autoregressive(rng, 0.7, (2, 301))
    assert ess(np.exp(x)) == ess(x)


@pytest.mark.parametrize("diagnostic", [rhat, ess])
def test_events_are_judged_one_by_one(rng, diagnostic):
    x = rng.normal(size=(2, 50, 2, 3)).astype(np.float32)
    together = diagnostic(x)
    assert together.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        np.testing.assert_allclose(together[i, j], diagnostic(x[:, :, i, j]), rtol=1e-10)


@pytest.mark.parametrize("diagnostic", [rhat, ess])
def test_what_cannot_be_judged_is_nan(rng, diagnostic):
    x = rng.normal(size=(2, 50, 3))
    x[..., 0] = 1.0
    x[1, 7, 1] = np.nan
    np.testing.assert_array_equal(np.isnan(diagnostic(x)), [True, True, False])


@pytest.mark.parametrize("diagnostic", [rhat, ess])
@pytest.mark.parametrize("shape", [(10,), (2, 3), (0, 10), (2, 10, 0)])
def test_too_few_axes_or_draws_are_refused(refused, diagnostic, shape):
    with refused("x"):
        diagnostic(np.zeros(shape))
