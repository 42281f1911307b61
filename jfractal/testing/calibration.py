"""Simulation-based calibration: are true values anywhere among posterior draws, equally often?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jfractal import ops
from jfractal.arguments import as_array, check_key, check_number, check_type, described
from jfractal.counts import check_counts
from jfractal.errors import DivergenceError, InputError
from jfractal.inference.batch import Batch
from jfractal.inference.model import Model
from jfractal.testing.draws import stacked
from jfractal.testing.moments import Fit, check_method
from jfractal.testing.simulator import DENSITIES, Simulator, invariants
from jfractal.typing import Array, Int, KeyArray, Params, Scalar

__all__ = ["Calibration", "Quantities", "assert_calibrated", "simulate_ranks"]

Quantities: TypeAlias = Callable[[Params, Model, Batch], Mapping[str, Scalar]]
"""Functions of weights and data by name, ``quantities(params, model, data)``."""

MAX_BINS, PER_BIN = 20, 10  # simulations expected in a bin; χ² needs about 5
MIN_DRAWS = 2  # among fewer, ranks have no spread
SIMULATIONS_PER_PASS = 100
NUM_SIMULATIONS = 500  # see the table of `assert_calibrated`


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranks of true values among posterior draws; of a calibrated method they are uniform.

    Attributes:
        ranks: Of each quantity by name, "simulations": how many of the draws are smaller than the
            true value, from 0 to L.
        num_draws: L.
    """

    ranks: Mapping[str, Int[np.ndarray, " simulations"]]
    num_draws: int

    def __post_init__(self):
        check_type("ranks", self.ranks, Mapping, "ranks by the name of a quantity")
        check_counts(MIN_DRAWS, num_draws=self.num_draws)
        for ranks in self.ranks.values():
            known = as_array("ranks", ranks)
            if known.ndim != 1 or not np.issubdtype(known.dtype, np.integer):
                raise InputError(f"`ranks` must be vectors of integers, got {described(known)}")
        sizes = {len(ranks) for ranks in self.ranks.values()}
        if len(sizes) != 1 or min(sizes) < 2 * PER_BIN:
            raise InputError(
                f"`ranks` must be those of the same simulations, at least {2 * PER_BIN}, for each "
                f"quantity, got numbers {sorted(sizes)}"
            )
        inside = lambda r: (r >= 0) & (r <= self.num_draws)
        if not all(inside(np.asarray(r)).all() for r in self.ranks.values()):
            raise InputError(f"`ranks` must lie between 0 and `num_draws`, {self.num_draws}")

    @property
    def num_simulations(self) -> int:
        """Number of simulations."""
        return len(next(iter(self.ranks.values())))

    @property
    def bins(self) -> Int[np.ndarray, " bins"]:
        """How many neighbouring ranks each bin of a histogram holds.

        There are up to 20 bins, fewer if fewer than 10 simulations would be expected in each.
        """
        places = self.num_draws + 1
        num_bins = min(MAX_BINS, self.num_simulations // PER_BIN, places)
        return np.bincount(np.arange(places) * num_bins // places)

    @property
    def counts(self) -> dict[str, Int[np.ndarray, " bins"]]:
        """How many simulations there are in each of the bins, for each quantity."""
        bins = self.bins
        bin_of = np.repeat(np.arange(len(bins)), bins)
        return {k: np.bincount(bin_of[r], minlength=len(bins)) for k, r in self.ranks.items()}

    @property
    def p_values(self) -> dict[str, float]:
        """How likely ranks as uneven are of a calibrated method, for each quantity.

        The smallest of three, times 3: of `bias` and of `spread`, which soon see the usual
        failures, and of Pearson's χ² on `counts`, which sees any.
        """
        from scipy.stats import chisquare, norm  # here, since it is slow to import

        expected = self.num_simulations * self.bins / (self.num_draws + 1)
        bias, spread = self.bias, self.spread
        p_values = {}
        for name, counts in self.counts.items():
            of_moments = 2 * norm.sf(np.abs([bias[name], spread[name]]))
            smallest = min(*of_moments, chisquare(counts, expected).pvalue)
            p_values[name] = float(min(1.0, 3 * smallest))
        return p_values

    @property
    def p_value(self) -> float:
        """That of all quantities together: the smallest, times their number (Bonferroni)."""
        return min(1.0, len(self.ranks) * min(self.p_values.values()))

    @property
    def bias(self) -> dict[str, float]:
        """How far the mean rank is off, in standard errors: above 0, draws are too low."""
        scores = self._scores
        return {k: _standardised(scores[r].mean(), scores, len(r)) for k, r in self.ranks.items()}

    @property
    def spread(self) -> dict[str, float]:
        """How far the variance of ranks is off, in standard errors: above 0, draws lie too close.

        The variance is around their own mean, lest a bias pass for a spread.
        """
        scores = self._scores
        return {k: _standardised(scores[r].var(), scores**2, len(r)) for k, r in self.ranks.items()}

    @property
    def _scores(self) -> np.ndarray:
        """Of each rank, between −½ and ½."""
        return (np.arange(self.num_draws + 1) + 0.5) / (self.num_draws + 1) - 0.5

    def shapes(self, level: float = 0.01) -> dict[str, str]:
        """What is wrong with each quantity's draws, in words; ``uniform`` if p ≥ level.

        ``too narrow`` (ranks ∪), ``too wide`` (∩), ``too low`` or ``too high`` (a slope): whichever
        of `spread` and `bias` stands out more; ``uneven`` if neither does. Densities that are too
        high are those of draws too near the mode, ``too narrow``; densities that are too low are
        those of draws too far from it, ``too wide or off``.
        """
        bias, spread = self.bias, self.spread
        return {
            name: "uniform" if p >= level else _shape(name, bias[name], spread[name])
            for name, p in self.p_values.items()
        }

    def reasons(self, level: float = 0.01) -> tuple[str, ...]:
        """What speaks against calibration, a sentence each, at this level for all together."""
        level = level / len(self.ranks)
        p_values, shapes, bias, spread = self.p_values, self.shapes(level), self.bias, self.spread
        return tuple(
            f"the draws of {name!r} are {shape} (p = {p_values[name]:.2g}, bias "
            f"{bias[name]:+.1f} and spread {spread[name]:+.1f} standard errors)"
            for name, shape in shapes.items()
            if shape != "uniform"
        )


def _standardised(mean: float, population: np.ndarray, num: int) -> float:
    return float((mean - population.mean()) / (population.std() / np.sqrt(num)))


def _shape(name: str, bias: float, spread: float) -> str:
    if name in DENSITIES and abs(bias) >= 2:
        return "too wide or off" if bias > 0 else "too narrow"
    if max(abs(bias), abs(spread)) < 2:
        return "uneven"
    if abs(spread) >= abs(bias):
        return "too narrow" if spread > 0 else "too wide"
    return "too low" if bias > 0 else "too high"


def simulate_ranks(
    fit: Fit,
    simulator: Simulator,
    key: KeyArray,
    *,
    num_simulations: int = NUM_SIMULATIONS,
    num_draws: int = 99,
    quantities: Quantities = invariants,
) -> Calibration:
    """Fits simulated data sets, and ranks the truth of each among draws of its posterior.

    ``w ~ p(w), y ~ p(y | w), w_1 … w_L ~ q(w | y)``: if q is the posterior, w is distributed as
    each of the w_l, and the rank of f(w) among the f(w_l) uniformly from 0 to L.

    Simulations are vmapped where the method can be traced, and take turns where it cannot. Stored
    draws are taken at even distances: a Markov chain must be long enough for these to be
    independent, else ranks are ∪-shaped.

    Args:
        fit: The method. Its `start` draws from the prior.
        simulator: What draws the truth.
        key: Random key; with the same, every method is given the same truths and data.
        num_simulations: Number of data sets, at least 20.
        num_draws: L, at least 2.
        quantities: f.

    Returns:
        A `Calibration`.

    Raises:
        InputError: If a number is out of range.
        DivergenceError: If a quantity is not finite.

    Source: Talts, Betancourt, Simpson, Vehtari & Gelman, "Validating Bayesian inference algorithms
        with simulation-based calibration", 2018.
    """
    check_method(fit)
    check_type("simulator", simulator, Simulator, "a Simulator")
    check_key("key", key)
    check_counts(2 * PER_BIN, num_simulations=num_simulations)
    check_counts(MIN_DRAWS, num_draws=num_draws)
    if not callable(quantities):
        raise InputError(f"`quantities` must be a function, got {described(quantities)}")

    def one(key: KeyArray) -> dict[str, tuple[Array, Array]]:
        key_weights, key_targets, key_fit, key_draws, key_ties = jax.random.split(key, 5)
        truth = simulator.draw_weights(key_weights)
        data = simulator.x, simulator.targets(truth, key_targets)
        posterior = fit(simulator.model, simulator.draw_weights, data, key_fit)
        draws = stacked(posterior, key_draws, num_draws)
        of_draws = jax.vmap(lambda w: quantities(w, simulator.model, data))(draws)
        tie = jax.random.uniform(key_ties)
        return {
            name: (_rank(value, of_draws[name], tie), _is_finite(value, of_draws[name]))
            for name, value in quantities(truth, simulator.model, data).items()
        }

    keys = jax.random.split(key, num_simulations)
    if _is_traceable(one, keys[0]):
        size = min(SIMULATIONS_PER_PASS, num_simulations)  # what is left over is compiled anew
        results = ops.jit(lambda keys: jax.lax.map(one, keys, batch_size=size))(keys)
    else:
        results = jax.tree.map(lambda *x: jnp.stack(x), *[one(key) for key in keys])
    for name, (_, finite) in results.items():
        if not finite.all():
            raise DivergenceError(
                f"{name!r} is not finite in {int((~finite).sum())} of {num_simulations} simulations"
            )
    return Calibration({k: np.asarray(r) for k, (r, _) in results.items()}, num_draws)


def _rank(value: Scalar, draws: Array, tie: Scalar) -> Int[Array, ""]:
    """How many draws are smaller; of those that are equal, as many as a uniform number says."""
    equal = jnp.sum(draws == value)
    return jnp.sum(draws < value) + jnp.floor(tie * (equal + 1)).astype(int)


def _is_finite(value: Scalar, draws: Array) -> Array:
    return jnp.isfinite(value) & jnp.isfinite(draws).all()


def _is_traceable(one: Callable, key: KeyArray) -> bool:
    try:
        jax.eval_shape(one, key)
    except (TypeError, ValueError):  # what else may be wrong, the first turn will say
        return False
    return True


def assert_calibrated(
    fit: Fit,
    simulator: Simulator,
    key: KeyArray,
    *,
    num_simulations: int = NUM_SIMULATIONS,
    level: float = 0.01,
) -> None:
    """Demands uniform ranks of a method, see `simulate_ranks` and `invariants`.

    What it finds at the level .01, measured on a linear regression (share of 200 repetitions):

    ==========================  ====  ====  ====  ====  ====
    simulations                 200   300   400   500   700
    ==========================  ====  ====  ====  ====  ====
    nothing wrong               .01   .01   .02   .01   .01
    std 20 % too small          1     1     1     1     1
    variance 20 % too small     .58   .89   .95   .99   1
    variance 25 % too large     .54   .86   .95   1     1
    variance 10 % too small     .03   .10   .15   .29   .49
    mean off by std / 5         .44   .77   .88   .98  1
    ==========================  ====  ====  ====  ====  ====

    Args:
        fit: The method.
        simulator: What draws the truth, e.g. `ConjugateRegression.simulator`.
        key: Random key.
        num_simulations: Number of data sets, at least 20.
        level: Probability that a calibrated method fails, over keys, in (0, 1).

    Raises:
        AssertionError: If it fails; the message says of which quantities draws are too narrow, too
            wide, too low or too high.
        InputError: If a number is out of range.
    """
    check_number("between 0 and 1", lambda x: (x > 0) & (x < 1), level=level)
    calibration = simulate_ranks(fit, simulator, key, num_simulations=num_simulations)
    if reasons := calibration.reasons(level):
        raise AssertionError(
            f"not calibrated in {num_simulations} simulations: {'; '.join(reasons)}"
        )
