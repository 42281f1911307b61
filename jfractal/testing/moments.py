"""Moments: do a posterior's draws have the right mean and covariance?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import jax
import numpy as np
from jax.typing import ArrayLike

from jfractal.arguments import (
    as_array,
    check_finite,
    check_key,
    check_number,
    check_type,
    check_values,
    described,
)
from jfractal.errors import InputError
from jfractal.inference.batch import Batch
from jfractal.inference.model import Model
from jfractal.metrics.convergence import ess
from jfractal.posterior.posterior import Posterior
from jfractal.testing.draws import Draws, draws_of
from jfractal.typing import Float, KeyArray, Params

__all__ = [
    "Fit",
    "Moments",
    "Solved",
    "assert_covariance",
    "assert_exact",
    "assert_mean",
    "assert_mean_field",
    "check_method",
]

Fit: TypeAlias = Callable[[Model, Callable[[KeyArray], Params], Batch, KeyArray], Posterior]
"""A method with its settings: ``fit(model, start, data, key) -> posterior``."""

NUM_ERRORS = 4.0  # standard errors that an estimate may be off
MIN_SIZE = 10  # effective draws, with fewer of which nothing would be found to be wrong


def check_method(fit: Any) -> None:
    """Refuses a method that is not a function."""
    if not callable(fit):
        raise InputError(f"`fit` must be a function, got {described(fit)}")


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of all weights, in the order of `jax.flatten_util.ravel_pytree`.

    Attributes:
        mean: Mean, "weights", float64.
        covariance: Covariance, "weights weights", float64, symmetric, without negative eigenvalues.

    Raises:
        InputError: If `mean` or `covariance` is not.
    """

    mean: Float[np.ndarray, " weights"]
    covariance: Float[np.ndarray, "weights weights"]

    def __post_init__(self):
        for name in ("mean", "covariance"):
            x = as_array(name, getattr(self, name))
            check_finite(name, x)
            object.__setattr__(self, name, np.asarray(x, np.float64))
        if self.mean.ndim != 1 or not self.mean.size:
            raise InputError(f"`mean` must be a vector, not empty, got shape {self.mean.shape}")
        if self.covariance.shape != 2 * self.mean.shape:
            raise InputError(
                f"`covariance` must have a row and a column for each entry of `mean`, "
                f"{2 * self.mean.shape}, got shape {self.covariance.shape}"
            )
        values = np.linalg.eigvalsh(self.covariance)
        if not np.allclose(self.covariance, self.covariance.T) or values[0] < -1e-6 * values[-1]:
            raise InputError("`covariance` must be symmetric, no eigenvalue of it below 0")

    @property
    def std(self) -> Float[np.ndarray, " weights"]:
        """Standard deviation of each weight."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def mean_field(self) -> "Moments":
        """The diagonal Gaussian q with the least KL(q ‖ p) to the Gaussian p with these moments.

        Its variances are ``1 / (Σ⁻¹)_ii``, the variance of a weight given all others, which is
        never larger than ``Σ_ii``.

        Source: Bishop, "Pattern recognition and machine learning", 2006, §10.1.2.
        """
        return Moments(self.mean, np.diag(1 / np.diag(np.linalg.inv(self.covariance))))


class Solved(Protocol):
    """A model and data whose posterior is known: `ConjugateRegression`, `GaussianTarget`."""

    @property
    def model(self) -> Model:
        """The model that a method is given."""
        ...

    @property
    def data(self) -> Batch:
        """Inputs and targets, ``(x, y)``."""
        ...

    @property
    def exact(self) -> Moments:
        """Moments of the exact posterior."""
        ...

    def start(self, key: KeyArray) -> Params:
        """A start that is far from the posterior."""
        ...


def assert_exact(fit: Fit, problem: Solved, key: KeyArray, *, slack: float = 0.0) -> None:
    """Asserts that a method has the mean and covariance of the exact posterior.

    They may be off by 4 Monte Carlo standard errors. For `Chains`, `Samples` and ensembles of
    these, the errors use the effective sample size; for other posteriors, 20,000 draws.

    An exact sampler passes with as few as 100 independent draws, but these reveal only gross
    errors. A variance that is 20 % too small is found by 1,000 effective draws in 19 of 20 cases,
    and by 2,000 always.

    Args:
        fit: The method.
        problem: Problem to fit, with a known posterior.
        key: Random key.
        slack: Additional tolerance, e.g. for steps of finite length: for a mean in posterior
            standard deviations, for a covariance in products of two of them.

    Raises:
        AssertionError: If a moment is off; the message gives the numbers of the worst entry.
    """
    _check(fit, problem, key, slack)
    _assert_moments(fit, problem, problem.exact, key, slack)


def assert_mean_field(fit: Fit, problem: Solved, key: KeyArray, *, slack: float = 0.15) -> None:
    """Asserts that a method has the moments of the best diagonal Gaussian (`Moments.mean_field`).

    Args:
        fit: The method, with a mean-field family.
        problem: Problem to fit, with a known posterior.
        key: Random key.
        slack: Additional tolerance: for a mean in posterior standard deviations, for a covariance
            in products of two of them. The default covers the error of stochastic optimisation.

    Raises:
        AssertionError: If a moment is off; the message gives the numbers of the worst entry.
    """
    _check(fit, problem, key, slack)
    _assert_moments(fit, problem, problem.exact.mean_field, key, slack)


def _check(fit: Fit, problem: Solved, key: KeyArray, slack: Any) -> None:
    check_method(fit)
    if not all(hasattr(problem, name) for name in ("model", "data", "exact", "start")):
        raise InputError(
            "`problem` must have `model`, `data`, `exact` and `start`, as GaussianTarget has, got "
            f"{described(problem)}"
        )
    check_key("key", key)
    check_number("at least 0 and finite", lambda x: (x >= 0) & np.isfinite(x), slack=slack)


def _assert_moments(
    fit: Fit, problem: Solved, expected: Moments, key: KeyArray, slack: float
) -> None:
    key_fit, key_draws = jax.random.split(key)
    posterior = fit(problem.model, problem.start, problem.data, key_fit)
    draws = draws_of(posterior, key_draws)
    if not np.isfinite(draws).all():
        raise AssertionError("the draws of the method must be finite numbers, got NaN or infinity")
    unit = problem.exact.std
    assert_mean(draws, expected, slack=slack * unit)
    assert_covariance(draws, expected, slack=slack * np.outer(unit, unit))


def assert_mean(draws: Draws, expected: Moments, *, slack: ArrayLike = 0.0) -> None:
    """Asserts that draws have the expected mean, to 4 Monte Carlo standard errors plus the slack.

    Args:
        draws: Draws "chains draws weights", see `draws_of`.
        expected: The moments that they should have.
        slack: Additional tolerance in units of the weights: a number, or one for each weight.

    Raises:
        AssertionError: If a mean is farther off, or there are too few effective draws to tell.
    """
    draws, slack = _checked(draws, expected, slack, "mean")
    error = np.sqrt(np.diag(expected.covariance) / _effective_size(draws))
    _assert_within("mean of weight", draws.mean((0, 1)), expected.mean, error, slack)


def assert_covariance(draws: Draws, expected: Moments, *, slack: ArrayLike = 0.0) -> None:
    """Asserts that draws have the expected covariance, to 4 standard errors plus the slack.

    Standard errors follow from the variance of the product of two Gaussians, ``s_ii s_jj + s_ij²``.

    Args:
        draws: Draws "chains draws weights", see `draws_of`.
        expected: The moments that they should have.
        slack: Additional tolerance in units of products of two weights: a number, or one for each
            pair.

    Raises:
        AssertionError: If a covariance is farther off, or there are too few effective draws to
            tell.
    """
    draws, slack = _checked(draws, expected, slack, "covariance")
    d = draws - expected.mean
    s, variances = expected.covariance, np.diag(expected.covariance)
    error = np.sqrt((np.outer(variances, variances) + s**2) / _effective_size(d**2).min())
    products = np.einsum("cdi,cdj->ij", d, d) / (d.shape[0] * d.shape[1])
    _assert_within("covariance of weights", products, s, error, slack)


def _checked(
    draws: Draws, expected: Moments, slack: ArrayLike, moment: str
) -> tuple[Draws, np.ndarray]:
    check_type("expected", expected, Moments, "the Moments of a posterior")
    shape = getattr(expected, moment).shape
    draws, slack = np.asarray(as_array("draws", draws)), np.asarray(as_array("slack", slack))
    if draws.ndim != 3 or not draws.size or draws.shape[2:] != expected.mean.shape:
        raise InputError(
            "`draws` must have the axes `chains draws weights`, none empty and as many weights as "
            f"`expected`, {len(expected.mean)}, got shape {draws.shape}"
        )
    check_finite("draws", draws)
    if slack.shape not in ((), shape) or slack.dtype == bool:
        raise InputError(f"`slack` must be a number or of shape {shape}, got {described(slack)}")
    check_values("slack", slack, "at least 0 and finite", lambda x: (x >= 0) & np.isfinite(x))
    return draws.astype(np.float64), slack


def _effective_size(x: Draws) -> Float[np.ndarray, " weights"]:
    """Effective sample size of each weight; infinite for a weight that does not vary.

    `metrics.ess` is NumPyro's estimate, which differs slightly from ArviZ's.
    """
    varies = np.ptp(x, axis=(0, 1)) > 0
    # An estimate from few draws may be above their number, and would make the errors too small.
    size = np.where(varies, np.minimum(ess(x), x.shape[0] * x.shape[1]), np.inf)
    if size.min() < MIN_SIZE:
        raise AssertionError(
            f"weight {size.argmin()} must have at least {MIN_SIZE} effective draws to be judged "
            f"by, got {size.min():.0f}"
        )
    return size


def _assert_within(
    what: str, actual: np.ndarray, expected: np.ndarray, error: np.ndarray, slack: np.ndarray
) -> None:
    allowed = NUM_ERRORS * error + slack
    excess = np.abs(actual - expected) - allowed
    if (excess <= 0).all():
        return
    worst = np.unravel_index(np.nanargmax(np.where(np.isnan(excess), np.inf, excess)), excess.shape)
    raise AssertionError(
        f"the {what} {' and '.join(map(str, worst))} must be {expected[worst]:.4g} to within "
        f"{allowed[worst]:.2g}, {NUM_ERRORS:.0f} Monte Carlo standard errors of {error[worst]:.2g} "
        f"and the slack, got {actual[worst]:.4g}; {np.sum(~(excess <= 0))} of {excess.size} are out"
    )
