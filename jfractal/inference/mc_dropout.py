"""Monte Carlo dropout: training with dropout, read as inference."""

import jax
import optax
from jax import lax

from jfractal.arguments import check_functions, check_rate
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.batch import batch_size
from jfractal.inference.method import Descent, Method, descent
from jfractal.inference.model import Model
from jfractal.inference.point import negative_log_joint
from jfractal.inference.trained import trained
from jfractal.posterior.dropout import Dropout
from jfractal.posterior.gaussian import Where
from jfractal.posterior.leaves import select
from jfractal.typing import Array, Params, Variables

__all__ = ["dropout", "mc_dropout"]


def matrices(path: str, leaf: Array) -> bool:
    """Picks leaves with at least two axes."""
    return leaf.ndim > 1


def mc_dropout(
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    rate: float = 0.1,
    num_samples: int = 1,
    where: Where = matrices,
) -> Method:
    """``argmax E_q[log p(D, w)]`` over `Dropout` posteriors q, by stochastic gradient ascent.

    The objective is the ELBO without the entropy of q, which is constant. Dropout is a posterior
    over weights here: dropout layers in the model are neither needed nor used. In a linear model
    this is ridge regression with the penalty ``rate / (1 − rate) diag(XᵀX)`` in addition to the
    prior's. For a net that is already trained see `dropout`.

    Args:
        model: The model to fit.
        optimizer: An optax optimizer; it sees the expected log joint in nats per example.
        rate: Probability of dropping an input of a kernel, in [0, 1).
        num_samples: Number of masks in a step. Each applies to its own share of the batch, so the
            number must divide the batch.
        where: ``where(path, leaf)`` picks the kernels, of at least two axes, whose inputs are
            dropped. By default, all of them, including the first layer, whose inputs are the
            features of the data.

    Returns:
        A `Method` whose posterior is a `Dropout`. Its steps report ``loss``, ``nll`` and
        ``log_prior`` in nats per example.

    Raises:
        InputError: If an argument is out of range, or `where` picks nothing or a leaf with fewer
            than two axes.

    Example:
        ::

            method = jf.mc_dropout(model, optax.adam(1e-3), rate=0.2)

    References:
        Gal & Ghahramani, "Dropout as a Bayesian approximation", ICML 2016.
    """
    check_rate(rate=rate)
    check_counts(num_samples=num_samples)
    check_functions(where=where)

    def loss(params, model, state, batch, key, num_data):
        size = batch_size(batch)
        if size % num_samples:
            raise InputError(f"`num_samples` must divide the batch of {size}, got {num_samples}")
        masked = Dropout(params, _rates(params, rate, where))

        def share(turn):
            key, batch = turn
            key_mask, key_pass = jax.random.split(key)
            weights = masked.sample(key_mask)["params"]
            return negative_log_joint(model, weights, state.variables, batch, key_pass, num_data)

        shares = jax.tree.map(lambda x: x.reshape(num_samples, -1, *x.shape[1:]), batch)
        # In turn: CPUs take five times as long over the small products of a batch of masks.
        values, (info, variables) = lax.map(share, (jax.random.split(key, num_samples), shares))
        info = {name: value.mean(0) for name, value in info.items()}
        return values.mean(), (info, jax.tree.map(lambda v: v[-1], variables))

    def posterior(state: Descent) -> Dropout:
        return Dropout(state.params, _rates(state.params, rate, where), state.variables)

    return descent("MC dropout", model, optimizer, loss, posterior, references=("gal2016",))


def dropout(params: Params | Variables, *, rate: float = 0.1, where: Where = matrices) -> Dropout:
    """Monte Carlo dropout of a trained net: predictions under random masks of its inputs.

    The net needs no dropout layers and need not have been trained with dropout. If it was, give the
    rate of its training. To train with dropout see `mc_dropout`.

    Args:
        params: Trained weights, or all variables of the model, ``{"params": ..., "batch_stats":
            ...}``. Gaussian leaves are replaced by their means.
        rate: Probability of dropping an input of a kernel, in [0, 1).
        where: ``where(path, leaf)`` picks the kernels whose inputs are dropped. By default, all
            with at least two axes.

    Returns:
        A `Dropout` posterior, for `predict`.

    Raises:
        InputError: As for `mc_dropout`, or if `params` are not weights.

    Example:
        ::

            posterior = jf.dropout(params, rate=0.2)
            p = jf.predict(model, posterior, x, key, num_samples=100)

    References:
        Gal & Ghahramani, ICML 2016, §4.
    """
    check_rate(rate=rate)
    weights, variables = trained(params, "dropout")
    return Dropout(weights, _rates(weights, rate, where), variables)


def _rates(params: Params, rate: float, where: Where) -> dict[str, float]:
    kernels = select(params, where)
    if vectors := [path for path, leaf in kernels.items() if leaf.ndim < 2]:
        raise InputError(f"`where` must pick leaves of at least two axes, got {vectors}")
    return dict.fromkeys(kernels, rate)
