"""Mean-field variational inference: Bayes by Backprop."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jfractal.errors import InputError
from jfractal.inference.descent import descend
from jfractal.inference.elbo import elbo
from jfractal.inference.log_joint import LogJoint
from jfractal.posterior.gaussian import gaussians, mean
from jfractal.posterior.samples import MeanField
from jfractal.typing import KeyArray, Params

__all__ = ["variational"]


def variational(
    log_joint: LogJoint,
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    batch_size: int | None = None,
    num_samples: int = 1,
    kl_weight: float | optax.Schedule = 1.0,
) -> MeanField:
    """Fits a mean-field posterior by gradient ascent on the ELBO, as one compiled program.

    Args:
        log_joint: Data, model, prior and likelihood.
        init: Draws the start: weights with Gaussian leaves, e.g.
            ``lambda key: jf.mean_field(net.init(key, x)["params"])``.
        key: Random key.
        optimizer: From optax; it sees the ELBO in nats per example.
        num_steps: Number of steps, at least 1.
        batch_size: Examples in a step; all of them if left out.
        num_samples: Draws of the weights for each step.
        kl_weight: Factor of the KL: a temperature of the posterior, or a function of the step, see
            `jfractal.training.kl_weight`.

    Returns:
        A `MeanField` posterior.

    Raises:
        InputError: If an argument is out of range, the targets do not fit the likelihood, or no
            leaf is Gaussian.
        DivergenceError: If the weights are not finite; under `jit` and `vmap`, NaN is returned.

    Source: Blundell et al., ICML 2015.
    """

    def loss(params, batch, key, step):
        bound = elbo(
            log_joint.apply,
            params,
            batch,
            key,
            prior=log_joint.prior,
            likelihood=log_joint.likelihood,
            num_data=log_joint.num_data,
            num_samples=num_samples,
            kl_weight=jnp.asarray(kl_weight(step)) if callable(kl_weight) else kl_weight,
        )
        return -bound.value

    key_init, key_run = jax.random.split(key)
    start = init(key_init)
    if not gaussians(start):
        raise InputError(
            "`init` must draw weights with Gaussian leaves, see `mean_field`, got none"
        )
    log_joint.check(mean(start))
    params, _ = descend(
        loss,
        start,
        key_run,
        log_joint.data,
        method="variational inference",
        optimizer=optimizer,
        num_steps=num_steps,
        batch_size=batch_size,
    )
    return MeanField(params)
