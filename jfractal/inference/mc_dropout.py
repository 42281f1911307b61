"""Monte Carlo dropout: training under dropout, as inference."""

from collections.abc import Callable

import jax
import optax
from jax import lax

from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.descent import descend
from jfractal.inference.log_joint import LogJoint
from jfractal.posterior.dropout import Dropout
from jfractal.posterior.gaussian import Where
from jfractal.posterior.leaves import select
from jfractal.typing import KeyArray, Params

__all__ = ["mc_dropout"]


def mc_dropout(
    log_joint: LogJoint,
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    batch_size: int | None = None,
    rate: float = 0.1,
    num_samples: int = 1,
    where: Where = lambda path, leaf: leaf.ndim > 1,
) -> Dropout:
    """``argmax E_q[log p(D, w)]`` over `Dropout` posteriors q, by stochastic gradient ascent.

    That is the ELBO but for the entropy of q, which is constant. It is a posterior over weights:
    dropout layers in the model are neither needed nor used. In a linear model it is ridge
    regression with a penalty of ``rate / (1 − rate) diag(XᵀX)`` beside the prior's.

    Args:
        log_joint: Data, model, prior and likelihood.
        init: Draws the start, e.g. ``lambda key: net.init(key, x)["params"]``.
        key: Random key.
        optimizer: From optax; it sees the expected log joint in nats per example.
        num_steps: Number of steps, at least 1.
        batch_size: Examples in a step; all of them if left out.
        rate: Probability of dropping an input of a kernel, in [0, 1).
        num_samples: Masks in a step, each for its own share of the batch; it must divide the batch.
        where: ``where(path, leaf)`` picks the kernels, of at least two axes, whose inputs are
            dropped; all of them if left out, the first layer's with the features of the data.

    Returns:
        A `Dropout` posterior.

    Raises:
        InputError: If an argument is out of range, or `where` picks nothing or a leaf with less
            than two axes.
        DivergenceError: If the weights are not finite; under `jit` and `vmap`, NaN is returned.

    Source: Gal & Ghahramani, "Dropout as a Bayesian approximation", ICML 2016.
    """
    size = log_joint.num_data if batch_size is None else batch_size
    if not 0 <= rate < 1:
        raise InputError(f"`rate` must be in [0, 1), got {rate}")
    check_counts(num_samples=num_samples)
    if size % num_samples:
        raise InputError(f"`num_samples` must divide the batch of {size}, got {num_samples}")
    key_init, key_run = jax.random.split(key)
    start = init(key_init)
    log_joint.check(start)
    kernels = select(start, where)
    if vectors := [path for path, leaf in kernels.items() if leaf.ndim < 2]:
        raise InputError(f"`where` must pick leaves of at least two axes, got {vectors}")
    rates = dict.fromkeys(kernels, rate)

    def loss(params, batch, key, _):
        def share(turn):
            key, batch = turn
            return log_joint.estimate(Dropout(params, rates).sample(key)["params"], batch)

        shares = jax.tree.map(lambda x: x.reshape(num_samples, -1, *x.shape[1:]), batch)
        # In turn: CPUs take five times as long over the small products of a batch of masks.
        values = lax.map(share, (jax.random.split(key, num_samples), shares))
        return -values.mean() / log_joint.num_data

    params, _ = descend(
        loss,
        start,
        key_run,
        log_joint.data,
        method="MC dropout",
        optimizer=optimizer,
        num_steps=num_steps,
        batch_size=batch_size,
    )
    return Dropout(params, rates)
