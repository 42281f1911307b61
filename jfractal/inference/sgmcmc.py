"""Stochastic gradient Markov chain Monte Carlo: gradient descent with the right noise."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jfractal import ops
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.descent import fold, schedule
from jfractal.inference.log_joint import LogJoint
from jfractal.posterior.samples import Samples
from jfractal.typing import Array, KeyArray, Params

__all__ = ["cosine_cycles", "sghmc", "sgld"]


def sgld(
    log_joint: LogJoint,
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    *,
    learning_rate: float | optax.Schedule,
    num_warmup: int,
    num_samples: int,
    thinning: int = 1,
    batch_size: int | None = None,
    temperature: float = 1.0,
) -> Samples:
    """Stochastic gradient Langevin dynamics: gradient ascent on the log joint with noise.

    ``w ← w + ε ∇U(w) + √(2 ε T / N) ξ``, ξ ~ N(0, I), with ``U = log p(D, w) / N`` estimated on a
    batch. With all data in each step, the draws of a Gaussian posterior of covariance Σ have
    covariance ``T Σ (I − ε Σ⁻¹ / 2N)⁻¹``; batches add the noise of their gradients.

    Args:
        log_joint: Data, model, prior and likelihood.
        init: Draws the start, e.g. ``lambda key: net.init(key, x)["params"]``.
        key: Random key.
        learning_rate: ε, a number above 0 or a schedule from optax. It is that of gradient descent
            on the loss in nats per example (the step size of the paper is 2ε / N).
        num_warmup: Steps before the first draw counts.
        num_samples: Draws that are kept, at least 1.
        thinning: Steps from one draw to the next, at least 1.
        batch_size: Examples in a step; all of them if left out.
        temperature: T; 0 is gradient descent, below 1 the posterior is cold.

    Returns:
        A `Samples` posterior. For several chains see `ensemble`.

    Raises:
        InputError: If an argument is out of range.
        DivergenceError: If the weights are not finite; under `jit` and `vmap`, NaN is returned.

    Source: Welling & Teh, "Bayesian learning via stochastic gradient Langevin dynamics", ICML 2011.
    """
    return sghmc(
        log_joint,
        init,
        key,
        learning_rate=learning_rate,
        momentum=0.0,
        num_warmup=num_warmup,
        num_samples=num_samples,
        thinning=thinning,
        batch_size=batch_size,
        temperature=temperature,
    )


def sghmc(
    log_joint: LogJoint,
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    *,
    learning_rate: float | optax.Schedule,
    momentum: float = 0.9,
    num_warmup: int,
    num_samples: int,
    thinning: int = 1,
    batch_size: int | None = None,
    temperature: float = 1.0,
) -> Samples:
    """Stochastic gradient Hamiltonian Monte Carlo: gradient ascent with momentum and noise.

    ``v ← μ v + ε ∇U(w) + √(2 (1 − μ) ε T / N) ξ,  w ← w + v``, with U as for `sgld`, which this is
    for momentum μ = 0.

    Args:
        log_joint: As for `sgld`.
        init: As for `sgld`.
        key: Random key.
        learning_rate: As for `sgld`; also that of gradient descent with momentum. For the chains of
            Zhang et al. give `cosine_cycles`, and as `thinning` the length of its cycles.
        momentum: μ in [0, 1), one minus the friction.
        num_warmup: As for `sgld`.
        num_samples: As for `sgld`.
        thinning: As for `sgld`.
        batch_size: As for `sgld`.
        temperature: As for `sgld`.

    Returns:
        A `Samples` posterior.

    Raises:
        InputError: If an argument is out of range.
        DivergenceError: As for `sgld`.

    Source: Chen et al., "Stochastic gradient Hamiltonian Monte Carlo", ICML 2014, eq. 15 (without
        its estimate of the gradient's noise).
    """
    check_counts(0, num_warmup=num_warmup)
    check_counts(num_samples=num_samples, thinning=thinning)
    if not 0 <= momentum < 1:
        raise InputError(f"`momentum` must be in [0, 1), got {momentum}")
    if temperature < 0:
        raise InputError(f"`temperature` must be at least 0, got {temperature}")
    rate_at = schedule(learning_rate)
    key_init, key_run = jax.random.split(key)
    params = init(key_init)
    log_joint.check(params)
    start, unravel = ravel_pytree(params)
    n = log_joint.num_data

    def step(state, batch, key, count):
        w, velocity, draws = state
        rate = rate_at(count)
        slope = jax.grad(lambda w: log_joint.estimate(unravel(w), batch) / n)(w)
        noise = ops.normal(key, w.shape, w.dtype)
        heat = 2 * (1 - momentum) * rate * temperature / n
        velocity = momentum * velocity + rate * slope + jnp.sqrt(heat) * noise
        w = w + velocity
        # Each slot is written to again until its draw is due.
        slot = jnp.maximum(count - num_warmup, 0) // thinning
        return (w, velocity, draws.at[slot].set(w)), None

    state = start, jnp.zeros_like(start), jnp.zeros((num_samples, start.size), start.dtype)
    (_, _, draws), _ = fold(
        step,
        state,
        key_run,
        log_joint.data,
        method="stochastic gradient MCMC",
        num_steps=num_warmup + num_samples * thinning,
        batch_size=batch_size,
    )
    return Samples(jax.vmap(unravel)(draws))


def cosine_cycles(learning_rate: float, cycle_length: int) -> optax.Schedule:
    """``ε_k = ε₀ / 2 · (1 + cos(π (k mod L) / L))``: down to 0 in L steps, and up again at once.

    At the start of a cycle a chain leaves its mode, at the end it samples from another.

    Args:
        learning_rate: ε₀, above 0.
        cycle_length: L, at least 1.

    Returns:
        The learning rate as a function of the number of steps before.

    Raises:
        InputError: If an argument is out of range.

    Source: Zhang et al., "Cyclical stochastic gradient MCMC", ICLR 2020, eq. 1.
    """
    if not learning_rate > 0 or cycle_length < 1:
        raise InputError(
            "`learning_rate` must be above 0 and `cycle_length` at least 1, "
            f"got {learning_rate} and {cycle_length}"
        )

    def rate(count: Any) -> Array:
        return learning_rate / 2 * (1 + jnp.cos(jnp.pi * (count % cycle_length) / cycle_length))

    return rate
