"""Stochastic gradient Hamiltonian Monte Carlo: gradient ascent with momentum and noise."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jfractal.arguments import check_key, check_number, check_rate, check_weight
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.batch import Batch, batch_size
from jfractal.inference.draws import Draws
from jfractal.inference.mass import check_mass, check_variances
from jfractal.inference.method import Info, Method, Start, check_model, count_data, started
from jfractal.inference.model import Model
from jfractal.inference.pace import Found, Given, Pace
from jfractal.inference.point import negative_log_joint
from jfractal.inference.rate import schedule
from jfractal.posterior.gaussian import check_weights, mean
from jfractal.posterior.noise import normal_like
from jfractal.posterior.samples import Samples
from jfractal.typing import Array, Int, KeyArray, Params, Variables

__all__ = ["sghmc"]


class Chain(NamedTuple):
    """State of a stochastic gradient Markov chain.

    Attributes:
        step: Steps taken.
        params: Weights.
        velocity: The last change of the weights.
        squares: Mean squares of the gradients if warm-up finds step sizes; otherwise None.
        variables: The other collections of the model.
        draws: The last draws of all variables.
    """

    step: Int[Array, ""]
    params: Params
    velocity: Params
    squares: Params | None
    variables: Variables
    draws: Draws


def sghmc(
    model: Model,
    *,
    learning_rate: float | optax.Schedule | None = None,
    momentum: float = 0.9,
    inverse_mass: Params | None = None,
    noise_share: float = 0.1,
    num_warmup: int = 0,
    num_draws: int = 32,
    thinning: int = 10,
    temperature: float = 1.0,
) -> Method:
    """Stochastic gradient Hamiltonian Monte Carlo: gradient ascent with momentum and noise.

    ``v ← μ v + ε ∇U(w) + √(2 (1 − μ) ε T / N) ξ,  w ← w + v``, with ``U = log p(D, w) / N``
    estimated on a batch and ξ ~ N(0, I). At momentum μ = 0 this is `sgld`. A diagonal mass replaces
    ε by ε N M⁻¹ for each weight.

    If `learning_rate` is left out, warm-up finds it together with the mass: ``ε N M⁻¹ = 2 (1 − μ) s
    T / E[Ĝ²]`` for each weight, Ĝ = N ∇U. The gradient then contributes the share s of the noise,
    and that much less is injected. A posterior without correlations keeps its variances for any s.
    Correlations are off by about s. The batches of `fit` partition the data, so their noise cancels
    over an epoch; variances are then too small by up to s.

    Args:
        model: The model to fit.
        learning_rate: ε, a number above 0 or an optax schedule: the learning rate of gradient
            descent with momentum on the loss in nats per example. For the chains of Zhang et al.,
            give `cosine_cycles`, and the length of its cycles as `thinning`. If left out, warm-up
            finds it together with the mass.
        momentum: μ in [0, 1), one minus the friction.
        inverse_mass: M⁻¹, a variance for every weight, such as ``q.variance()`` of any posterior; ε
            is then the fraction of the way to the mode that a step covers. By default, 1 / N for
            every weight. If the learning rate is left out, its search starts from M⁻¹.
        noise_share: s in (0, 1], used if the learning rate is left out. A smaller share is slower
            and more accurate.
        num_warmup: Steps before the first draw counts, at least 1 without a learning rate.
        num_draws: Number of draws to keep, the last ones.
        thinning: Steps from one draw to the next, at least 1.
        temperature: T. At 0 this is gradient descent; below 1 the posterior is cold.

    Returns:
        A `Method` whose posterior is a `Samples`. Before the first draw, it holds the current
        weights. For several chains see `ensemble`.

    Raises:
        InputError: If an argument is out of range, or there is neither a learning rate nor a
            warm-up to find it in.

    Example:
        ::

            method = jf.sghmc(model, num_warmup=2000, thinning=50)
            rate = jf.cosine_cycles(0.02, 500)
            method = jf.sghmc(model, learning_rate=rate, num_warmup=5000, thinning=500)

    References:
        Chen et al., "Stochastic gradient Hamiltonian Monte Carlo", ICML 2014, eq. 15 (with an
        estimate of the gradient's noise only where the learning rate is found); Ahn et al.,
        "Bayesian posterior sampling via stochastic gradient Fisher scoring", ICML 2012; Li et al.,
        "Preconditioned stochastic gradient Langevin dynamics", AAAI 2016.
    """
    check_model(model)
    check_counts(0, num_warmup=num_warmup)
    check_counts(num_draws=num_draws, thinning=thinning)
    check_rate(momentum=momentum)
    check_weight(temperature=temperature)
    check_number("above 0 and at most 1", lambda x: (x > 0) & (x <= 1), noise_share=noise_share)
    if inverse_mass is not None:
        check_weights(inverse_mass, "inverse_mass")
        check_variances(jax.tree.leaves(inverse_mass))
    pace: Pace
    if learning_rate is None:
        _check_search(num_warmup, temperature)
        pace = Found(noise_share, momentum, temperature, num_warmup, inverse_mass)
    else:
        pace = Given(schedule(learning_rate), inverse_mass)

    def init(params: Start, key: KeyArray) -> Chain:
        weights, variables = started(params, key)
        weights = mean(weights)
        if inverse_mass is not None:
            check_mass(inverse_mass, jax.tree.map(jnp.shape, weights))
        draws = Draws.of({"params": weights, **variables}, num_draws, num_warmup, thinning)
        zeros = jax.tree.map(jnp.zeros_like, weights)
        step = jnp.zeros((), jnp.int32)
        return Chain(step, weights, zeros, pace.begin(weights), variables, draws)

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
        found = pace.at(state.step, state.squares, slope, batch_size(batch), num_data)
        noise = normal_like(key_noise, state.params)
        push = found.push(slope, noise, num_data, temperature, 1 - momentum)
        velocity = jax.tree.map(
            lambda v, p: (momentum * v + p).astype(v.dtype), state.velocity, push
        )
        params = jax.tree.map(jnp.add, state.params, velocity)
        draws = state.draws.after(state.step + 1, {"params": params, **variables})
        after = Chain(state.step + 1, params, velocity, found.memory, variables, draws)
        return after, info

    def posterior(state: Chain) -> Samples:
        draws = state.draws.kept(state.step, {"params": state.params, **state.variables})
        return Samples(draws.pop("params"), draws)

    references = ("chen2014",) if isinstance(pace, Given) else ("chen2014", "ahn2012", "li2016")
    return Method("SGHMC", model, init, update, posterior, references)


def _check_search(num_warmup: int, temperature: float) -> None:
    """Refuses a search for the learning rate without steps, or without noise to measure by."""
    if num_warmup == 0:
        raise InputError(
            "`learning_rate` can be left out only if there is a warm-up to find it in: give "
            "`num_warmup`, such as 1000"
        )
    if temperature == 0:
        raise InputError(
            "`learning_rate` must be given at `temperature` 0, because warm-up finds it from the "
            "noise of the steps, which are noiseless at that temperature"
        )
