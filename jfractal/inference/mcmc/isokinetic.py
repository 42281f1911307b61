"""Transitions of microcanonical dynamics by BlackJAX, and their tuning."""

from dataclasses import dataclass
from math import pi, sqrt
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from blackjax.adaptation.step_size import dual_averaging_adaptation
from blackjax.mcmc import adjusted_mclmc_dynamic, mclmc
from blackjax.util import generate_unit_vector
from jax.flatten_util import ravel_pytree

from jfractal.errors import InputError
from jfractal.inference.mcmc.kernel import KNOWN, LogDensity, Statistics
from jfractal.inference.mcmc.tuning import BatchMeans, EnergyTuner, Moments
from jfractal.typing import Array, Float, Int, KeyArray, Params, Scalar

__all__ = ["Adjusted", "Unadjusted"]

GRADIENTS = 2  # of a step of McLachlan's integrator
FIRST_STEP = 0.25  # of √weights
DIVERGED = 1000.0  # error in energy, in nats, as for Hamiltonian Monte Carlo
TOO_LONG = 1000.0  # squared error in energy over the variance aimed at
LENGTH_PER_TIME = 0.4  # of the autocorrelation time, Robnik & Seljak 2024, §4
MIN_BATCHES = 4
MAX_STEPS_UNSCALED, MAX_STEPS = 10, 1000  # of a trajectory, before the mass is known and after


class Tuned(NamedTuple):
    """The parameters of the dynamics.

    Attributes:
        step_size: ε, the length of a step in the coordinates of mass 1, where the speed is 1.
        length: L, the path over which a direction is forgotten, or the length of a trajectory.
        inverse_mass: A variance for every weight.
        moments: Moments of the weights since the mass was last set.
    """

    step_size: Scalar
    length: Scalar
    inverse_mass: Float[Array, " weights"]
    moments: Moments

    @classmethod
    def first(cls, start: Params, inverse_mass: Array | None) -> "Tuned":
        """The parameters at the start."""
        flat, _ = ravel_pytree(start)
        if flat.size < 2:
            raise InputError(
                "`starts` must hold at least 2 weights to sample, because the dynamics have a "
                f"direction, got {flat.size}"
            )
        mass = jnp.ones_like(flat) if inverse_mass is None else inverse_mass
        size = jnp.asarray(sqrt(flat.size), flat.dtype)
        return cls(FIRST_STEP * size, size, mass, Moments.none(flat))

    def rescaled(self, *, adapt_mass: bool, factor: float) -> "Tuned":
        """With the mass, or only the length, set from the moments, which then start again."""
        moments = self.moments
        variance = jnp.where(moments.variance > 0, moments.variance, self.inverse_mass)
        # The radius of the target, in units of the mass: √weights, once that fits.
        radius = jnp.sqrt((variance / self.inverse_mass).sum())
        nothing = Moments.none(variance)
        if not adapt_mass:
            return Tuned(self.step_size, factor * radius, self.inverse_mass, nothing)
        fitting = jnp.asarray(sqrt(variance.size), variance.dtype)
        return Tuned(self.step_size * fitting / radius, factor * fitting, variance, nothing)


def _edges(num_warmup: int, shares: tuple[float, ...]) -> list[int]:
    """The steps at which phases of warm-up end."""
    return [round(share * num_warmup) for share in shares]


def _choose(condition: Any, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


class LangevinState(NamedTuple):
    """State of `Unadjusted`."""

    step: Int[Array, ""]
    key: KeyArray
    chain: Any
    tuned: Tuned
    energy: EnergyTuner
    batches: BatchMeans


@dataclass(frozen=True)
class Unadjusted:
    """Microcanonical Langevin steps without rejection.

    Warm-up tunes in this order, with shares of its steps: the step size (.1); step size and mass
    (.2, then .3 with the mass of the first); the step size with the last mass (.2); the length by
    autocorrelation (.2).

    Attributes:
        num_warmup: Steps of warm-up.
        energy_variance: Target for the variance of the energy error of a step, per weight.
        adapt_mass: Whether the mass is tuned, or only step size and length.
    """

    num_warmup: int
    energy_variance: float
    adapt_mass: bool
    statistics: ClassVar[tuple[str, ...]] = (*KNOWN, "energy_error")

    def init(
        self,
        log_joint: LogDensity,
        key: KeyArray,
        start: Params,
        inverse_mass: Float[Array, " weights"] | None,
    ) -> Any:
        """A chain with a random direction."""
        tuned = Tuned.first(start, inverse_mass)
        key, key_chain = jax.random.split(key)
        return LangevinState(
            jnp.zeros((), jnp.int32),
            key,
            mclmc.init(start, log_joint, key_chain),
            tuned,
            EnergyTuner.fresh(tuned.step_size.dtype),
            BatchMeans.none(tuned.inverse_mass),
        )

    def step(self, log_joint: LogDensity, state: Any) -> tuple[Any, Statistics]:
        """One step of the integrator, between two halves of a random turn."""
        key, key_step, key_turn = jax.random.split(state.key, 3)
        tuned, before = state.tuned, state.chain
        chain, info = _LANGEVIN(
            key_step, before, log_joint, tuned.inverse_mass, tuned.length, tuned.step_size
        )
        error, size = jnp.asarray(info.energy_change), tuned.inverse_mass.size
        ratio = error**2 / (size * self.energy_variance)
        # While the step size is being found, a step that is far too long is not taken.
        too_long = (state.step < self.num_warmup) & (ratio > TOO_LONG)
        turned = before._replace(momentum=generate_unit_vector(key_turn, before.position))
        chain = _choose(too_long, turned, chain)
        tuned = self._tuned(state, chain, ratio, info.nonans, ~too_long)
        state = LangevinState(state.step + 1, key, chain, *tuned)
        return state, {
            "log_joint": chain.logdensity,
            "energy_error": error / sqrt(size),
            "num_gradients": jnp.full((), GRADIENTS, jnp.int32),
            "divergences": (~info.nonans | (jnp.abs(error) > DIVERGED)).astype(jnp.int32),
        }

    def position(self, state: Any) -> Params:
        """The weights."""
        return state.chain.position

    def _tuned(
        self, state: Any, chain: Any, ratio: Scalar, finite: Any, taken: Any
    ) -> tuple[Tuned, EnergyTuner, BatchMeans]:
        first, half, scaled, sized, end = _edges(self.num_warmup, (0.1, 0.3, 0.6, 0.8, 1.0))
        now = state.step + 1
        energy = state.energy.after(ratio, state.tuned.step_size, finite)
        step_size = energy.step_size(state.tuned.step_size)
        weights, _ = ravel_pytree(chain.position)
        within = (now > first) & (now <= scaled) & finite & taken
        moments = state.tuned.moments.add(weights, within * state.tuned.step_size)
        tuned = state.tuned._replace(step_size=step_size, moments=moments)
        closes = (now == half) | (now == scaled)
        tuned = _choose(closes, tuned.rescaled(adapt_mass=self.adapt_mass, factor=1.0), tuned)
        energy = _choose(closes, EnergyTuner.fresh(step_size.dtype), energy)
        tuned = _choose(now <= sized, tuned, state.tuned)
        length = max(round((end - sized) ** (2 / 3)), 1)
        batches = state.batches.add(weights, now - sized, length, (now > sized) & (now <= end))
        if (end - sized) // length >= MIN_BATCHES:
            time = LENGTH_PER_TIME * tuned.step_size * batches.time(length)
            tuned = tuned._replace(length=jnp.where(now == end, time, tuned.length))
        return tuned, energy, batches


class TrajectoryState(NamedTuple):
    """State of `Adjusted`."""

    step: Int[Array, ""]
    key: KeyArray
    chain: Any
    tuned: Tuned
    averaging: Any


@dataclass(frozen=True)
class Adjusted:
    """Microcanonical trajectories, accepted or rejected as in Hamiltonian Monte Carlo.

    The mean length of a trajectory is a quarter of the period of a Gaussian, ``π/2 √weights`` in
    units of the mass. Lengths are spread evenly up to twice that.

    Warm-up tunes in this order, with shares of its steps: the step size (.1); step size and mass
    (.2, then .3); the step size (.4).

    Attributes:
        num_warmup: Trajectories of warm-up.
        target_accept: Acceptance probability that the step size is tuned to.
        adapt_mass: Whether the mass is tuned, or only step size and length.
    """

    num_warmup: int
    target_accept: float
    adapt_mass: bool
    statistics: ClassVar[tuple[str, ...]] = (*KNOWN, "accept_prob")

    def init(
        self,
        log_joint: LogDensity,
        key: KeyArray,
        start: Params,
        inverse_mass: Float[Array, " weights"] | None,
    ) -> Any:
        """A chain at its start."""
        tuned = Tuned.first(start, inverse_mass)
        chain = adjusted_mclmc_dynamic.init(start, log_joint, jnp.zeros((), jnp.int32))
        begin, _, _ = dual_averaging_adaptation(self.target_accept)
        averaging = _strong(begin(tuned.step_size))
        return TrajectoryState(jnp.zeros((), jnp.int32), key, chain, tuned, averaging)

    def step(self, log_joint: LogDensity, state: Any) -> tuple[Any, Statistics]:
        """One trajectory from a random direction."""
        key, key_step = jax.random.split(state.key)
        tuned = state.tuned
        half = _edges(self.num_warmup, (0.3,))[0]
        most = jnp.where(state.step < half, MAX_STEPS_UNSCALED, MAX_STEPS)
        number = jnp.clip(tuned.length / tuned.step_size, 1, most)
        chain, info = _TRAJECTORY(
            key_step,
            state.chain,
            log_joint,
            tuned.step_size,
            inverse_mass_matrix=tuned.inverse_mass,
            integration_steps_params=(number,),
        )
        accept_prob = jnp.asarray(info.acceptance_rate)
        tuned, averaging = self._tuned(state, chain, accept_prob)
        state = TrajectoryState(state.step + 1, key, chain, tuned, averaging)
        return state, {
            "log_joint": jnp.asarray(chain.logdensity),
            "accept_prob": accept_prob,
            "num_gradients": GRADIENTS * jnp.asarray(info.num_integration_steps),
            "divergences": jnp.asarray(info.is_divergent, jnp.int32),
        }

    def position(self, state: Any) -> Params:
        """The weights."""
        return state.chain.position

    def _tuned(self, state: Any, chain: Any, accept_prob: Scalar) -> tuple[Tuned, Any]:
        first, half, scaled, end = _edges(self.num_warmup, (0.1, 0.3, 0.6, 1.0))
        begin, update, final = dual_averaging_adaptation(self.target_accept)
        now = state.step + 1
        averaging = _strong(update(state.averaging, accept_prob))
        step_size = jnp.where(now == end, final(averaging), jnp.exp(averaging.log_step_size))
        weights, _ = ravel_pytree(chain.position)
        within = (now > first) & (now <= scaled)
        moments = state.tuned.moments.add(weights, within.astype(weights.dtype))
        tuned = state.tuned._replace(step_size=step_size, moments=moments)
        closes = (now == half) | (now == scaled)
        averaged = tuned._replace(step_size=final(averaging))
        rescaled = averaged.rescaled(adapt_mass=self.adapt_mass, factor=pi / 2)
        tuned = _choose(closes, rescaled, tuned)
        averaging = _choose(closes, _strong(begin(rescaled.step_size)), averaging)
        return _choose(now <= end, (tuned, averaging), (state.tuned, state.averaging))


def _num_steps(turn: Any, mean: Any) -> Int[Array, ""]:
    """Steps of a trajectory, by a sequence that all chains share, so that none waits for others."""
    steps = adjusted_mclmc_dynamic.trajectory_length(turn, mean)
    return jnp.maximum(steps, 1).astype(jnp.int32)


def _strong(tree: Any) -> Any:
    """A tree without weak dtypes, so that a loop may carry it."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.result_type(x)), tree)


_LANGEVIN = mclmc.build_kernel()
_TRAJECTORY = adjusted_mclmc_dynamic.build_kernel(
    _num_steps, divergence_threshold=DIVERGED, next_random_arg_fn=lambda turn: turn + 1
)
