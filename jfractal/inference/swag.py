"""SWAG: the Gaussian that gradient descent wanders about in."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.log_joint import LogJoint
from jfractal.inference.maximum_a_posteriori import maximum_a_posteriori
from jfractal.inference.sgmcmc import sgld
from jfractal.posterior.factor_gaussian import FactorGaussian
from jfractal.posterior.gaussian import everywhere
from jfractal.posterior.leaves import select
from jfractal.typing import KeyArray, Params

__all__ = ["swag"]


def swag(
    log_joint: LogJoint,
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    learning_rate: float | optax.Schedule,
    num_samples: int,
    thinning: int = 1,
    rank: int = 20,
    batch_size: int | None = None,
) -> FactorGaussian:
    """``q(w) = N(w̄, ½ (diag(s²) + D Dᵀ / (K − 1)))`` over iterates of gradient descent.

    From a maximum a posteriori, plain gradient descent goes on at a constant rate. Over all of its
    iterates, w̄ is their mean and s² their variance; the columns of D are the deviations of the
    last K from w̄ (the paper's, from the mean of the iterates before: equal in the limit).

    How far the iterates spread is set by the learning rate and the batch size as much as by the
    posterior: of batches of all the data they do not spread at all.

    Args:
        log_joint: Data, model, prior and likelihood.
        init: Draws the start, e.g. ``lambda key: net.init(key, x)["params"]``.
        key: Random key.
        optimizer: From optax, for the way to the maximum; it sees the log joint in nats per
            example.
        num_steps: Number of its steps, at least 1.
        learning_rate: Of the gradient descent after it, above 0, in the same units.
        num_samples: Iterates that are kept in memory.
        thinning: Steps from one of them to the next, e.g. an epoch's.
        rank: K, between 2 and `num_samples`.
        batch_size: Examples in a step; all of them if left out.

    Returns:
        A `FactorGaussian` posterior.

    Raises:
        InputError: If an argument is out of range.
        DivergenceError: If the weights are not finite; under `jit` and `vmap`, NaN is returned.

    Source: Maddox et al., "A simple baseline for Bayesian uncertainty in deep learning", NeurIPS
        2019, algorithm 1.
    """
    check_counts(2, rank=rank, num_samples=num_samples)
    if rank > num_samples:
        raise InputError(f"`rank` must be between 2 and `num_samples`, {num_samples}, got {rank}")
    key_maximum, key_run = jax.random.split(key)
    maximum = maximum_a_posteriori(
        log_joint,
        init,
        key_maximum,
        optimizer=optimizer,
        num_steps=num_steps,
        batch_size=batch_size,
    )
    descent = sgld(
        log_joint,
        lambda key: maximum.variables["params"],
        key_run,
        learning_rate=learning_rate,
        temperature=0.0,
        num_warmup=0,
        num_samples=num_samples,
        thinning=thinning,
        batch_size=batch_size,
    )
    iterates = select(descent.params, everywhere)
    return FactorGaussian(
        jax.tree.map(lambda w: w.mean(0), descent.params),
        std=jax.tree.map(lambda w: w.std(0) / jnp.sqrt(2), iterates),
        factors=jax.tree.map(
            lambda w: (w[-rank:] - w.mean(0, keepdims=True)) / jnp.sqrt(2 * (rank - 1)), iterates
        ),
    )
