"""IVON: mean-field variational inference at the cost of Adam."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jfractal.arguments import check_key, check_positive, check_rate
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.batch import Batch
from jfractal.inference.method import Info, Method, Start, check_model, count_data, started
from jfractal.inference.model import Model
from jfractal.inference.point import rest
from jfractal.inference.rate import schedule
from jfractal.posterior.gaussian import Gaussian, mean, named_leaves
from jfractal.posterior.noise import normal_like
from jfractal.posterior.samples import MeanField
from jfractal.posterior.softplus import inverse_softplus
from jfractal.priors import Gaussian as GaussianPrior
from jfractal.priors import Prior
from jfractal.typing import Array, Float, Int, KeyArray, Params, Variables

__all__ = ["ivon"]


class Newton(NamedTuple):
    """State of IVON.

    Attributes:
        step: Steps taken.
        mean: Means m of the weights.
        momentum: Running mean of the gradients.
        hessian: h, the diagonal Hessian of the loss in nats per example.
        variables: The other collections of the model.
        strength: ``λ = N / kl_weight`` of the last step.
    """

    step: Int[Array, ""]
    mean: Params
    momentum: Params
    hessian: Params
    variables: Variables
    strength: Float[Array, ""]


def ivon(
    model: Model,
    *,
    learning_rate: float | optax.Schedule,
    num_samples: int = 1,
    kl_weight: float = 1.0,
    hessian_init: float = 1.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
) -> Method:
    """The improved variational online Newton method: natural gradient ascent on the ELBO.

    ``q(w) = N(m, 1 / λ(h + δ))`` with ``λ = N / kl_weight`` and ``λδ`` the precision of the prior.
    h tracks the diagonal Hessian of the loss, estimated from gradients alone: for ``w = m + σε``,
    ``E[∇loss(w) ε / σ] = E[∇² loss(w)]``. m takes Newton steps scaled by h.

    Args:
        model: The model to fit; its prior must be Gaussian.
        learning_rate: A number above 0 or an optax schedule. As in the paper, it is multiplied by
            ``hessian_init + δ``, so that the first steps are those of gradient descent.
        num_samples: Draws of the weights in each step, at least 1.
        kl_weight: Factor of the KL, above 0: the temperature of the posterior.
        hessian_init: h at the start, in nats per example, above 0.
        beta1: Decay of the mean of gradients, in [0, 1).
        beta2: Decay of h, in [0, 1). h averages over about 1 / (1 − beta2) steps, which should be
            many, but far fewer than the steps of the fit.

    Returns:
        A `Method` whose posterior is a `MeanField`. Its steps report ``loss``, the ``nll`` under
        draws of the weights, in nats per example.

    Raises:
        InputError: If an argument is out of range, or the prior is not Gaussian.

    Example:
        ::

            method = jf.ivon(model, learning_rate=0.1)
            fit = jf.fit(method, params, (x, y), key, num_epochs=10, batch_size=128)

    References:
        Shen et al., "Variational learning is effective for large deep networks", ICML 2024,
        algorithm 1.
    """
    check_model(model)
    check_counts(num_samples=num_samples)
    check_positive(kl_weight=kl_weight, hessian_init=hessian_init)
    check_rate(beta1=beta1, beta2=beta2)
    rate_at = schedule(learning_rate)

    def init(params: Start, key: KeyArray) -> Newton:
        weights, variables = started(params, key)
        weights = mean(weights)
        _check_prior(model.prior, weights)
        # Of half precision, means over a thousand steps would stand still.
        wide = jax.tree.map(lambda w: jnp.promote_types(w.dtype, jnp.float32), weights)
        full = lambda value: jax.tree.map(lambda w, t: jnp.full(w.shape, value, t), weights, wide)
        zeros, hessian = full(0.0), full(hessian_init)
        return Newton(jnp.zeros((), jnp.int32), weights, zeros, hessian, variables, jnp.ones(()))

    def update(
        state: Newton, batch: Batch, key: KeyArray, num_data: int | None = None
    ) -> tuple[Newton, Info]:
        check_key("key", key)
        strength = count_data(batch, num_data) / kl_weight
        key_route, key_draws = jax.random.split(key)
        slope_of_prior, precision = _prior(model.prior, state.mean)
        std = _std(state.hessian, precision, strength)

        def step(model: Model):
            def loss(params, key):
                run = model.training_pass({"params": params, **state.variables}, batch, key)
                return -run.log_likelihood.mean(), (run.metrics, rest(run.variables))

            def estimate(key):
                key_noise, key_pass = jax.random.split(key)
                noise = normal_like(key_noise, state.mean)
                draw = jax.tree.map(
                    lambda m, s, e: (m + s * e).astype(m.dtype), state.mean, std, noise
                )
                (nll, (metrics, after)), gradient = jax.value_and_grad(loss, has_aux=True)(
                    draw, key_pass
                )
                curvature = jax.tree.map(lambda g, e, s: g * e / s, gradient, noise, std)
                return {"nll": nll, **metrics}, after, gradient, curvature

            return jax.vmap(estimate)(jax.random.split(key_draws, num_samples))

        info, after, gradient, curvature = model.choose(key_route, step)
        info, gradient, curvature = jax.tree.map(lambda x: x.mean(0), (info, gradient, curvature))
        count = state.step + 1

        def newton(m, momentum, h, gradient, curvature, prior_slope, precision):
            delta = precision / strength
            momentum = beta1 * momentum + (1 - beta1) * gradient
            # The square keeps h + δ above 0 whatever the estimate: 1 + r + r²/2 > 0.
            change = (1 - beta2) * (curvature - h)
            h = h + change + change**2 / (2 * (h + delta))
            slope = momentum / (1 - beta1**count) - prior_slope / strength
            rate = rate_at(state.step) * (hessian_init + delta)
            return (m - rate * slope / (h + delta)).astype(m.dtype), momentum, h

        moved = jax.tree.map(
            newton,
            state.mean,
            state.momentum,
            state.hessian,
            gradient,
            curvature,
            slope_of_prior,
            precision,
        )
        means, momentum, hessian = jax.tree.transpose(
            jax.tree.structure(state.mean), jax.tree.structure((0, 0, 0)), moved
        )
        variables = jax.tree.map(lambda v: v[-1], after)
        strength = jnp.asarray(strength, state.strength.dtype)
        state = Newton(count, means, momentum, hessian, variables, strength)
        return state, {"loss": info["nll"], **info}

    def posterior(state: Newton) -> MeanField:
        _, precision = _prior(model.prior, state.mean)
        rho = jax.tree.map(
            lambda m, s: inverse_softplus(s).astype(m.dtype),
            state.mean,
            _std(state.hessian, precision, state.strength),
        )
        return MeanField(jax.tree.map(Gaussian, state.mean, rho), state.variables)

    return Method("IVON", model, init, update, posterior, ("shen2024",))


def _prior(prior: Prior, params: Params) -> tuple[Params, Params]:
    """Gradient and precision of a Gaussian prior that is independent over weights."""
    ones = jax.tree.map(jnp.ones_like, params)
    slope, curvature = jax.jvp(jax.grad(prior.tree_log_prob), (params,), (ones,))
    return slope, jax.tree.map(jnp.negative, curvature)


def _std(hessian: Params, precision: Params, strength: Any) -> Params:
    return jax.tree.map(lambda h, p: 1 / jnp.sqrt(strength * h + p), hessian, precision)


def _check_prior(prior: Prior, params: Params) -> None:
    for path, leaf in named_leaves(params):
        if not isinstance(prior.at(path, leaf.shape), GaussianPrior):
            raise InputError(f"the prior must be Gaussian for IVON, got {prior} for '{path}'")
