"""Stochastic gradient Hamiltonian Monte Carlo: momentum, and the right noise."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jfractal.arguments import check_key, check_rate, check_weight
from jfractal.counts import check_counts
from jfractal.inference.batch import Batch
from jfractal.inference.draws import Draws
from jfractal.inference.method import Info, Method, Start, check_model, count_data, started
from jfractal.inference.model import Model
from jfractal.inference.point import negative_log_joint
from jfractal.inference.rate import schedule
from jfractal.posterior.gaussian import mean
from jfractal.posterior.noise import normal_like
from jfractal.posterior.samples import Samples
from jfractal.typing import Array, Int, KeyArray, Params, Variables

__all__ = ["sghmc"]


class Chain(NamedTuple):
    """State of a Markov chain of stochastic gradients.

    Attributes:
        step: Steps taken.
        params: Weights.
        velocity: What was added to them last.
        variables: The other collections of the model.
        draws: The last draws of all variables.
    """

    step: Int[Array, ""]
    params: Params
    velocity: Params
    variables: Variables
    draws: Draws


def sghmc(
    model: Model,
    *,
    learning_rate: float | optax.Schedule,
    momentum: float = 0.9,
    num_warmup: int = 0,
    num_draws: int = 32,
    thinning: int = 10,
    temperature: float = 1.0,
) -> Method:
    """Stochastic gradient Hamiltonian Monte Carlo: gradient ascent with momentum and noise.

    ``v ← μ v + ε ∇U(w) + √(2 (1 − μ) ε T / N) ξ,  w ← w + v``, with ``U = log p(D, w) / N``
    estimated on a batch and ξ ~ N(0, I). At momentum μ = 0 this is `sgld`.

    Args:
        model: What to fit.
        learning_rate: ε, a number above 0 or a schedule from optax, that of gradient descent with
            momentum on the loss in nats per example. For the chains of Zhang et al. give
            `cosine_cycles`, and the length of its cycles as `thinning`.
        momentum: μ in [0, 1), one minus the friction.
        num_warmup: Steps before the first draw counts.
        num_draws: Draws that are kept: the last so many.
        thinning: Steps from one draw to the next, at least 1.
        temperature: T; 0 is gradient descent, below 1 the posterior is cold.

    Returns:
        A `Method` whose posterior is a `Samples`; before the first draw, the weights as they are.
        For several chains see `ensemble`.

    Raises:
        InputError: If an argument is out of range.

    Example:
        ::

            rate = jf.cosine_cycles(0.02, 500)
            method = jf.sghmc(model, learning_rate=rate, num_warmup=5000, thinning=500)

    References:
        Chen et al., "Stochastic gradient Hamiltonian Monte Carlo", ICML 2014, eq. 15 (without its
        estimate of the gradient's noise).
    """
    check_model(model)
    check_counts(0, num_warmup=num_warmup)
    check_counts(num_draws=num_draws, thinning=thinning)
    check_rate(momentum=momentum)
    check_weight(temperature=temperature)
    rate_at = schedule(learning_rate)

    def init(params: Start, key: KeyArray) -> Chain:
        weights, variables = started(params, key)
        weights = mean(weights)
        draws = Draws.of({"params": weights, **variables}, num_draws, num_warmup, thinning)
        zeros = jax.tree.map(jnp.zeros_like, weights)
        return Chain(jnp.zeros((), jnp.int32), weights, zeros, variables, draws)

    def update(
        state: Chain, batch: Batch, key: KeyArray, num_data: int | None = None
    ) -> tuple[Chain, Info]:
        check_key("key", key)
        num_data = count_data(batch, num_data)
        key_route, key_pass, key_noise = jax.random.split(key, 3)

        def step(model: Model):
            def loss(params):
                return negative_log_joint(model, params, state.variables, batch, key_pass, num_data)

            return jax.grad(loss, has_aux=True)(state.params)

        slope, (info, variables) = model.choose(key_route, step)
        rate = rate_at(state.step)
        heat = jnp.sqrt(2 * (1 - momentum) * rate * temperature / num_data)
        noise = normal_like(key_noise, state.params)
        velocity = jax.tree.map(
            lambda v, g, e: (momentum * v - rate * g + heat * e).astype(v.dtype),
            state.velocity,
            slope,
            noise,
        )
        params = jax.tree.map(jnp.add, state.params, velocity)
        draws = state.draws.after(state.step + 1, {"params": params, **variables})
        return Chain(state.step + 1, params, velocity, variables, draws), info

    def posterior(state: Chain) -> Samples:
        draws = state.draws.kept(state.step, {"params": state.params, **state.variables})
        return Samples(draws.pop("params"), draws)

    return Method("SGHMC", model, init, update, posterior, ("chen2014",))
