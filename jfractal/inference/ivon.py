"""IVON: mean-field variational inference at the price of Adam."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jfractal import ops
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.descent import fold, schedule
from jfractal.inference.log_joint import LogJoint
from jfractal.posterior.gaussian import Gaussian, inverse_softplus, named_leaves
from jfractal.posterior.priors import Gaussian as GaussianPrior
from jfractal.posterior.priors import Prior
from jfractal.posterior.samples import MeanField
from jfractal.typing import KeyArray, Params

__all__ = ["ivon"]


def ivon(
    log_joint: LogJoint,
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    *,
    learning_rate: float | optax.Schedule,
    num_steps: int,
    batch_size: int | None = None,
    num_samples: int = 1,
    kl_weight: float = 1.0,
    hessian_init: float = 1.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
) -> MeanField:
    """The improved variational online Newton method: natural gradient ascent on the ELBO.

    ``q(w) = N(m, 1 / λ(h + δ))`` with ``λ = N / kl_weight`` and ``λδ`` the precision of the prior.
    h follows the diagonal Hessian of the loss, estimated from gradients alone: for ``w = m + σε``,
    ``E[∇loss(w) ε / σ] = E[∇² loss(w)]``; m takes Newton steps that h scales.

    Args:
        log_joint: Data, model, likelihood, and a Gaussian prior.
        init: Draws the means at the start, e.g. ``lambda key: net.init(key, x)["params"]``.
        key: Random key.
        learning_rate: A number above 0 or a schedule from optax; as in the paper it is multiplied
            by ``hessian_init + δ``, so that the first steps are those of gradient descent.
        num_steps: Number of steps, at least 1.
        batch_size: Examples in a step; all of them if left out.
        num_samples: Draws of the weights for each step, at least 1.
        kl_weight: Factor of the KL, the temperature of the posterior, above 0.
        hessian_init: h at the start, in nats per example, above 0.
        beta1: Decay of the mean of gradients, in [0, 1).
        beta2: Decay of h, in [0, 1): it remembers 1 / (1 − beta2) steps, which should be many, and
            many fewer than `num_steps`.

    Returns:
        A `MeanField` posterior.

    Raises:
        InputError: If an argument is out of range, or the prior is not Gaussian.
        DivergenceError: If the weights are not finite; under `jit` and `vmap`, NaN is returned.

    Source: Shen et al., "Variational learning is effective for large deep networks", ICML 2024,
        algorithm 1.
    """
    check_counts(num_samples=num_samples)
    if not (kl_weight > 0 and hessian_init > 0):
        raise InputError(
            f"`kl_weight` and `hessian_init` must be above 0, got {kl_weight} and {hessian_init}"
        )
    if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
        raise InputError(f"`beta1` and `beta2` must be in [0, 1), got {beta1} and {beta2}")
    rate_at = schedule(learning_rate)
    key_init, key_run = jax.random.split(key)
    params = init(key_init)
    log_joint.check(params)
    _check_prior(log_joint.prior, params)
    mean, unravel = ravel_pytree(params)
    strength = log_joint.num_data / kl_weight

    def log_prior(mean):
        return log_joint.prior.tree_log_prob(unravel(mean)) / strength

    slope_of_prior = jax.grad(log_prior)
    # Its prior being Gaussian and independent, the Hessian is diagonal and the same everywhere.
    delta = -jax.jvp(slope_of_prior, (mean,), (jnp.ones_like(mean),))[1]

    def std(hessian):
        return 1 / jnp.sqrt(strength * (hessian + delta))

    def step(state, batch, key, count):
        mean, momentum, hessian = state

        def loss(w):
            return -log_joint.log_likelihood(unravel(w), batch).mean()

        def estimate(key):
            noise = ops.normal(key, mean.shape, mean.dtype)
            gradient = jax.grad(loss)(mean + std(hessian) * noise)
            return gradient, gradient * noise / std(hessian)

        estimates = jax.vmap(estimate)(jax.random.split(key, num_samples))
        gradient, curvature = (x.mean(0) for x in estimates)
        momentum = beta1 * momentum + (1 - beta1) * gradient
        # The square keeps h + δ above 0 whatever the estimate: 1 + r + r²/2 > 0.
        change = (1 - beta2) * (curvature - hessian)
        hessian = hessian + change + change**2 / (2 * (hessian + delta))
        slope = momentum / (1 - beta1 ** (count + 1)) - slope_of_prior(mean)
        rate = rate_at(count) * (hessian_init + delta)
        return (mean - rate * slope / (hessian + delta), momentum, hessian), None

    start = mean, jnp.zeros_like(mean), jnp.full_like(mean, hessian_init)
    (mean, _, hessian), _ = fold(
        step,
        start,
        key_run,
        log_joint.data,
        method="IVON",
        num_steps=num_steps,
        batch_size=batch_size,
    )
    rho = inverse_softplus(std(hessian))
    return MeanField(jax.tree.map(Gaussian, unravel(mean), unravel(rho)))


def _check_prior(prior: Prior, params: Params) -> None:
    for path, leaf in named_leaves(params):
        if not isinstance(prior.at(path, leaf.shape), GaussianPrior):
            raise InputError(f"the prior must be Gaussian for IVON, got {prior} for '{path}'")
