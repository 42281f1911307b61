"""Mean-field variational inference: Bayes by Backprop."""

import jax.numpy as jnp
import optax

from jfractal.arguments import check_functions, check_weight
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.elbo import elbo
from jfractal.inference.method import Descent, Method, descent
from jfractal.inference.model import Model
from jfractal.posterior.gaussian import Estimator, Where, everywhere, gaussians, mean_field
from jfractal.posterior.samples import MeanField
from jfractal.typing import Params

__all__ = ["variational"]


def variational(
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    num_samples: int = 1,
    kl_weight: float | optax.Schedule = 1.0,
    scale: float = 0.01,
    where: Where = everywhere,
    estimator: Estimator = "reparam",
) -> Method:
    """``argmax_q E_q[log p(D | w)] − KL(q ‖ p)`` over mean-field Gaussians q.

    Weights that are arrays become Gaussian leaves at the start. If some leaves are Gaussian
    already, as in a net of `BayesDense` and `BayesConv`, the tree stays as it is and its arrays
    are point estimates.

    Args:
        model: The model to fit.
        optimizer: An optax optimizer; it sees the ELBO in nats per example.
        num_samples: Draws of the weights in each step.
        kl_weight: Factor of the KL: a temperature of the posterior, or a function of the step, see
            `jfractal.inference.kl_weight`.
        scale: Initial standard deviation of weights that become Gaussian, above 0.
        where: ``where(path, leaf)`` picks the arrays that become Gaussian, see `mean_field`.
        estimator: How layers draw from Gaussian leaves, see `mean_field`.

    Returns:
        A `Method` whose posterior is a `MeanField`. Its steps report ``loss``, the negative ELBO
        in nats per example, ``nll`` in nats per example, and ``kl`` in nats, without its weight.

    Raises:
        InputError: If an argument is out of range, or no leaf is Gaussian.

    Example:
        ::

            method = jf.variational(model, optax.adam(1e-3), kl_weight=0.1)
            fit = jf.fit(method, params, (x, y), key, num_epochs=10, batch_size=128)

    References:
        Blundell et al., "Weight uncertainty in neural networks", ICML 2015.
    """
    check_counts(num_samples=num_samples)
    if not callable(kl_weight):
        check_weight(kl_weight=kl_weight)
    check_functions(where=where)
    # Refuses now what it would refuse later.
    mean_field(jnp.ones(1), scale=scale, where=lambda path, leaf: True, estimator=estimator)

    def lift(params: Params) -> Params:
        if not gaussians(params):
            params = mean_field(params, scale=scale, where=where, estimator=estimator)
        if not gaussians(params):
            raise InputError(
                "`where` must pick at least one leaf to become Gaussian, it picks none"
            )
        return params

    def loss(params, model, state, batch, key, num_data):
        weight = jnp.asarray(kl_weight(state.step)) if callable(kl_weight) else kl_weight
        bound = elbo(
            model,
            params,
            batch,
            key,
            num_data=num_data,
            num_samples=num_samples,
            kl_weight=weight,
            variables=state.variables,
        )
        info = {"loss": -bound.value, "nll": bound.nll, "kl": bound.kl, **bound.metrics}
        return -bound.value, (info, bound.variables)

    def posterior(state: Descent) -> MeanField:
        return MeanField(state.params, state.variables)

    paper = ("blundell2015",)
    return descent("mean field", model, optimizer, loss, posterior, lift=lift, references=paper)
