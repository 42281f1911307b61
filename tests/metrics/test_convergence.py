import numpy as np
import pytest
from scipy import stats
from scipy.signal import lfilter

from jfractal.metrics import ebfmi, ess, ess_tail, rhat


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def arviz():
    return pytest.importorskip("arviz")


def autoregressive(rng, rho, shape):
    """Stationary AR(1) chains; the first draw has the stationary variance."""
    noise = rng.normal(size=shape)
    noise[:, 0] /= np.sqrt(1 - rho**2)
    return np.asarray(lfilter([1], [1, -rho], noise, axis=1))


def test_independent_draws_have_converged_and_count_fully(rng):
    x = rng.normal(size=(4, 2000, 3))
    assert np.all(rhat(x) < 1.01)
    np.testing.assert_allclose(ess(x), 8000, rtol=0.1)
    np.testing.assert_allclose(ess_tail(x), 8000, rtol=0.1)


@pytest.mark.parametrize("rho", [-0.4, 0.5, 0.9])
def test_ess_of_autoregressive_chains_is_closed_form(rng, rho):
    x = autoregressive(rng, rho, (4, 10_000))
    assert ess(x) == pytest.approx((1 - rho) / (1 + rho) * x.size, rel=0.1)


@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_tail_ess_of_autoregressive_chains_is_closed_form(rng, rho):
    x = autoregressive(rng, rho, (4, 10_000))
    # ρ_t of the indicators: (P(both below the quantile) - p²) / (p (1 - p)).
    p, z = 0.05, stats.norm.ppf(0.05)
    both = [
        stats.multivariate_normal.cdf([z, z], cov=[[1, rho**t], [rho**t, 1]]) for t in range(1, 40)
    ]
    correlations = (np.array(both) - p**2) / (p * (1 - p))
    assert ess_tail(x) == pytest.approx(x.size / (1 + 2 * correlations.sum()), rel=0.1)


def test_arviz_agrees(rng, arviz):
    chains = autoregressive(rng, 0.7, (4, 500))
    drifting = chains + np.linspace(0, 2, 500)
    heavy = rng.standard_cauchy(size=(3, 301))
    for x in (chains, drifting, heavy):
        assert rhat(x) == pytest.approx(float(arviz.rhat(x)), rel=1e-6)
        # There the truncated sum of autocorrelations may have one more term.
        assert ess(x) == pytest.approx(float(arviz.ess(x, method="bulk")), rel=0.03)
        tail = arviz.ess(x, method="tail", prob=(0.05, 0.95))
        assert ess_tail(x) == pytest.approx(float(tail), rel=0.03)


def test_energy_fraction_is_that_of_arviz(rng, arviz):
    energy = autoregressive(rng, 0.8, (4, 300)) + 1e4
    np.testing.assert_allclose(ebfmi(energy), arviz.bfmi(energy), rtol=1e-8)


def test_energy_fraction_is_closed_form(rng):
    by_hand = np.array([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    np.testing.assert_allclose(ebfmi(by_hand), [3.0, 1.0])
    for rho in (0.0, 0.9):
        energy = autoregressive(rng, rho, (2, 20_000))
        np.testing.assert_allclose(ebfmi(energy), 2 * (1 - rho), rtol=0.1)


def test_energy_fraction_of_a_stuck_or_broken_chain_is_nan(rng):
    energy = rng.normal(size=(3, 10))
    energy[0], energy[1, 4] = 0.1, np.nan
    np.testing.assert_array_equal(np.isnan(ebfmi(energy)), [True, True, False])


def test_energy_without_chains_is_refused(refused):
    for shape in ((10,), (0, 10), (2, 1), (2, 10, 1)):
        with refused("energy"):
            ebfmi(np.zeros(shape))


def test_a_tail_that_is_cut_off_does_not_count(rng):
    x = autoregressive(rng, 0.7, (4, 1000))
    cut = np.minimum(x, np.quantile(x, 0.9))  # as a probability that is often exactly 1
    lower = np.where(x <= np.quantile(x, 0.05), 0.0, 1.0)
    assert ess_tail(x) <= ess_tail(cut) == ess_tail(lower)


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
    assert ess_tail(np.exp(x)) == ess_tail(x)


@pytest.mark.parametrize("diagnostic", [rhat, ess, ess_tail])
def test_events_are_judged_one_by_one(rng, diagnostic):
    x = rng.normal(size=(2, 50, 2, 3)).astype(np.float32)
    together = diagnostic(x)
    assert together.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        np.testing.assert_allclose(together[i, j], diagnostic(x[:, :, i, j]), rtol=1e-10)


@pytest.mark.parametrize("diagnostic", [rhat, ess, ess_tail])
def test_what_cannot_be_judged_is_nan(rng, diagnostic):
    x = rng.normal(size=(2, 50, 3))
    x[..., 0] = 1.0
    x[1, 7, 1] = np.nan
    np.testing.assert_array_equal(np.isnan(diagnostic(x)), [True, True, False])


@pytest.mark.parametrize("diagnostic", [rhat, ess, ess_tail])
@pytest.mark.parametrize("shape", [(10,), (2, 3), (0, 10), (2, 10, 0)])
def test_too_few_axes_or_draws_are_refused(refused, diagnostic, shape):
    with refused("x"):
        diagnostic(np.zeros(shape))
