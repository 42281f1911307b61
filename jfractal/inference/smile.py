"""SMILE: microcanonical Langevin dynamics on batches, whose noise turns the direction."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jfractal.arguments import check_key, check_positive
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.batch import Batch, batch_size
from jfractal.inference.draws import Draws
from jfractal.inference.mcmc.tuning import EnergyTuner
from jfractal.inference.method import Info, Method, Start, check_model, count_data, started
from jfractal.inference.model import Model
from jfractal.inference.pace import Found
from jfractal.inference.point import negative_log_joint
from jfractal.posterior.gaussian import mean
from jfractal.posterior.noise import normal_like
from jfractal.posterior.samples import Samples
from jfractal.typing import Array, Int, KeyArray, Params, Scalar, Variables

__all__ = ["smile"]

FIRST_STEP = 0.25  # of √weights
SMALLEST = 1e-30  # mean square that a weight is scaled by
TOO_LONG = 1000.0  # squared error in energy over the variance aimed at
SEARCH, SETTLED = 0.4, 0.8  # shares of warm-up: where the chain sets out, where v is settled
SHARE = 0.1  # of noise that batches bring during the search


class Drifting(NamedTuple):
    """State of SMILE.

    Attributes:
        step: Steps taken.
        params: Weights.
        direction: u, of norm 1 over all weights together, in the coordinates z with mass 1.
        squares: Mean squares of the gradients of the weights, in nats².
        step_size: ε, the length of a step in the coordinates z, where the speed is 1.
        energy: The statistics of the energy error that warm-up tunes by.
        variables: The other collections of the model.
        draws: The last draws of all variables.
    """

    step: Int[Array, ""]
    params: Params
    direction: Params
    squares: Params
    step_size: Scalar
    energy: EnergyTuner
    variables: Variables
    draws: Draws


def smile(
    model: Model,
    *,
    num_warmup: int = 1000,
    num_draws: int = 32,
    thinning: int = 10,
    energy_variance: float = 1e-4,
    temperature: float = 1.0,
) -> Method:
    """Microcanonical Langevin Monte Carlo on batches, preconditioned by the noise of gradients.

    ``dz = u dt``, ``du = (I − u uᵀ) (∇ log p(D, w) / T dt / (d − 1) + η dB)``, with ``z = √v w``
    and v the mean square of the gradient, for each of the d weights. A chain moves at constant
    speed and turns towards higher density. The noise of batches turns it too. Like η dB, this noise
    leaves the posterior unchanged if it is isotropic in z; scaling by √v makes it so, up to
    correlations. No injected noise has to drown the noise of batches, and there is no learning rate
    to choose.

    A step consists of half a step along u, a turn by the gradient there, half a step along the new
    u, and a random turn. The random turns forget a direction over a path as long as the posterior
    is wide. Draws are taken at the point of the gradient, where the step size biases the variance
    least. The first 0.4 of the warm-up steps are those of `sgld` without a learning rate; they find
    the posterior and v. The rest tune ε until the variance of the energy error is
    `energy_variance`, with two more forward passes per step. If the energy error of a step is far
    too large, the step is rejected and the chain reverses its direction.

    Args:
        model: The model to fit.
        num_warmup: Steps of warm-up, at least 1: as many as training takes, or a few epochs if the
            weights are already trained.
        num_draws: Number of draws to keep, the last ones.
        thinning: Steps from one draw to the next, at least 1.
        energy_variance: Target for the variance of the energy error of a step, in nats² per weight,
            above 0; ε is tuned to it. A smaller target is slower and more accurate.
        temperature: T of the posterior ``∝ (p(D | w) p(w))^{1/T}``, above 0.

    Returns:
        A `Method` whose posterior is a `Samples`. Before the first draw, it holds the current
        weights. For several chains see `ensemble`. Its steps report ``step_size`` and the loss.

    Raises:
        InputError: If an argument is out of range, or there are fewer than 2 weights.

    Example:
        ::

            nets = jf.ensemble(jf.maximum_a_posteriori(model, optax.adam(1e-3)), 4)
            trained = jf.fit(nets, start, (x, y), key, num_epochs=20, batch_size=128).posterior
            chains = jf.ensemble(jf.smile(model, num_warmup=500), 4)
            fit = jf.fit(chains, trained, (x, y), key, num_steps=1000, batch_size=128)

    References:
        Sommer et al., "Can microcanonical Langevin dynamics leverage mini-batch gradient noise?",
        ICML 2026; Robnik & Seljak, "Fluctuation without dissipation: microcanonical Langevin Monte
        Carlo", 2024.
    """
    check_model(model)
    check_counts(num_warmup=num_warmup, num_draws=num_draws, thinning=thinning)
    check_positive(energy_variance=energy_variance, temperature=temperature)
    search = max(round(SEARCH * num_warmup), 1)
    pace = Found(SHARE, 0.0, temperature, round(SETTLED / SEARCH) * search, None)

    def init(params: Start, key: KeyArray) -> Drifting:
        weights, variables = started(params, key)
        weights = mean(weights)
        if (number := _count(weights)) < 2:
            raise InputError(
                f"`params` must hold at least 2 weights to have a direction, got {number}"
            )
        squares = pace.begin(weights)
        dtype = jnp.result_type(*jax.tree.leaves(squares))
        return Drifting(
            jnp.zeros((), jnp.int32),
            weights,
            _unit(normal_like(jax.random.fold_in(key, 1), squares)),
            squares,
            jnp.asarray(FIRST_STEP * number**0.5, dtype),
            EnergyTuner.fresh(dtype),
            variables,
            Draws.of({"params": weights, **variables}, num_draws, num_warmup, thinning),
        )

    def update(
        state: Drifting, batch: Batch, key: KeyArray, num_data: int | None = None
    ) -> tuple[Drifting, Info]:
        check_key("key", key)
        num_data, size = count_data(batch, num_data), _count(state.params)
        key_route, key_pass, key_turn, key_noise = jax.random.split(key, 4)
        searches, warms_up = state.step < search, state.step < num_warmup
        tunes = warms_up & ~searches

        def step(model: Model):
            def loss(params):
                key = jax.random.clone(key_pass)  # all energies of a step have the same masks
                return negative_log_joint(model, params, state.variables, batch, key, num_data)

            half = jnp.where(searches, 0, 0.5 * state.step_size)
            return _drift(loss, state, half, num_data / temperature, tunes)

        drift = model.choose(key_route, step)
        found = pace.at(state.step, state.squares, drift.slope, batch_size(batch), num_data)
        noise = normal_like(key_noise, drift.direction)
        push = found.push(drift.slope, noise, num_data, temperature, 1.0)
        sought = jax.tree.map(lambda w, p: (w + p).astype(w.dtype), state.params, push)
        finite, ratio = jnp.isfinite(drift.error), drift.error**2 / (size * energy_variance)
        refused = tunes & (~finite | (ratio > TOO_LONG))
        # Where the model is right, weights have the variance T / H, and v is T H + (N / B − 1) H.
        spread = size * temperature * (temperature + num_data / batch_size(batch) - 1)
        direction = _forgotten(drift.direction, key_turn, state.step_size / spread**0.5, size)
        params, direction = _choose(refused, (state.params, _unit(noise)), (drift.end, direction))
        params, direction = _choose(searches, (sought, state.direction), (params, direction))
        energy = state.energy.after(ratio, state.step_size, finite)
        step_size = energy.step_size(state.step_size)
        step_size, energy = _choose(tunes, (step_size, energy), (state.step_size, state.energy))
        squares = _choose(searches | (tunes & finite), found.memory, state.squares)
        draws = state.draws.after(state.step + 1, {"params": drift.middle, **drift.variables})
        after = Drifting(
            state.step + 1, params, direction, squares, step_size, energy, drift.variables, draws
        )
        # As wide as before: numbers of the data may be wider than the weights.
        after = jax.tree.map(lambda new, old: new.astype(old.dtype), after, state)
        return after, {**drift.info, "step_size": after.step_size}

    def posterior(state: Drifting) -> Samples:
        draws = state.draws.kept(state.step, {"params": state.params, **state.variables})
        return Samples(draws.pop("params"), draws)

    return Method("SMILE", model, init, update, posterior, ("sommer2026", "robnik2024"))


class Drift(NamedTuple):
    """A step of the deterministic motion, and what was seen on the way."""

    middle: Params
    end: Params
    direction: Params
    error: Scalar
    slope: Params
    info: Info
    variables: Variables


def _drift(
    loss: Callable[[Params], Any], state: Drifting, half: Scalar, strength: Any, tunes: Array
) -> Drift:
    """Half a step, a turn by the gradient there, and the other half.

    Args:
        loss: ``loss(params) -> (loss, (info, variables))``, in nats per example.
        state: State before the step.
        half: Half of the step size.
        strength: N / T.
        tunes: Whether to compute the error in energy; it is 0 otherwise.
    """
    scale = jax.tree.map(lambda v: jax.lax.rsqrt(jnp.maximum(v, SMALLEST)), state.squares)
    middle = _moved(state.params, half, scale, state.direction)
    slope, (info, variables) = jax.grad(loss, has_aux=True)(middle)
    force = jax.tree.map(lambda g, s: -strength * s * g, slope, scale)
    direction, won = _turned(state.direction, force, state.step_size, _count(state.params))
    end = _moved(middle, half, scale, direction)

    def error() -> Scalar:
        gained = strength * (loss(end)[0] - loss(state.params)[0])
        return (won + gained).astype(won.dtype)

    of_step = jax.lax.cond(tunes, error, lambda: jnp.zeros_like(won))
    return Drift(middle, end, direction, of_step, slope, info, variables)


def _count(tree: Params) -> int:
    return sum(x.size for x in jax.tree.leaves(tree))


def _dot(a: Params, b: Params) -> Scalar:
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda x, y: jnp.sum(x * y), a, b))


def _unit(tree: Params) -> Params:
    norm = jnp.sqrt(_dot(tree, tree))
    return jax.tree.map(lambda x: x / norm, tree)


def _choose(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def _moved(params: Params, length: Scalar, scale: Params, direction: Params) -> Params:
    move = lambda w, s, u: (w + length * s * u).astype(w.dtype)
    return jax.tree.map(move, params, scale, direction)


def _turned(
    direction: Params, force: Params, step_size: Scalar, size: int
) -> tuple[Params, Scalar]:
    """The direction after a time ε under a constant force, and the kinetic energy gained.

    Source: Ver Steeg & Galstyan, "Hamiltonian dynamics with non-Newtonian momentum for rapid
        sampling", NeurIPS 2021, eq. 9, with sinh and cosh in terms of ζ = e^−δ.
    """
    norm = jnp.sqrt(_dot(force, force))
    pull = jax.tree.map(lambda g: g / jnp.maximum(norm, 1e-30), force)
    turn = step_size * norm / (size - 1)
    along, zeta = _dot(direction, pull), jnp.exp(-turn)
    new = jax.tree.map(
        lambda u, e: e * (1 - zeta) * (1 + zeta + along * (1 - zeta)) + 2 * zeta * u,
        direction,
        pull,
    )
    won = turn - jnp.log(2.0) + jnp.log(1 + along + (1 - along) * zeta**2)
    return _unit(new), (size - 1) * won


def _forgotten(direction: Params, key: KeyArray, share: Scalar, size: int) -> Params:
    """The direction turned at random, by the share of the path over which it is forgotten."""
    noise = normal_like(key, direction)
    amount = jnp.sqrt(jnp.expm1(2 * share) / size)
    return _unit(jax.tree.map(lambda u, e: u + amount * e, direction, noise))
