"""The evidence lower bound: what variational inference maximises."""

from typing import Any, NamedTuple

import jax

from jfractal.arguments import check_key, check_weight
from jfractal.counts import check_counts
from jfractal.inference.batch import Batch
from jfractal.inference.method import check_model, count_data
from jfractal.inference.model import Model
from jfractal.posterior.gaussian import sample
from jfractal.posterior.pruning import settled
from jfractal.priors.divergence import kl
from jfractal.typing import KeyArray, Params, Scalar, Variables

__all__ = ["Elbo", "elbo"]


class Elbo(NamedTuple):
    """An estimate of the evidence lower bound and its two parts.

    Attributes:
        value: The bound, in nats per example of the data set: ``−nll − kl_weight · kl / num_data``.
        nll: Negative log likelihood under draws of the weights, in nats per example.
        kl: KL(q ‖ prior) in nats, summed over all weights and not weighted.
        metrics: Metrics of the batch by name, averaged over draws.
        variables: The other collections of the model after the last draw's pass.
    """

    value: Scalar
    nll: Scalar
    kl: Scalar
    metrics: dict[str, Any]
    variables: Variables


def elbo(
    model: Model,
    params: Params,
    batch: Batch,
    key: KeyArray,
    *,
    num_data: int | None = None,
    num_samples: int = 1,
    kl_weight: float | Scalar = 1.0,
    variables: Variables | None = None,
) -> Elbo:
    """Estimates the evidence lower bound on a batch, per example of the data set.

    ``ELBO / N = mean_batch E_q[log p(y | x, w)] − KL(q ‖ p) / N``. In this scaling it does not
    depend on the size of the batch, and each of M batches carries 1/M of the KL.

    Leaves with the estimator ``reparam`` are drawn here, once for the batch, in any net. The other
    Gaussian leaves are left for `BayesDense`, `BayesConv` and `BayesEmbed` to draw. Every draw of
    the weights gets its own training pass, with its own dropout and drop-path.

    Args:
        model: Net, prior and likelihood; `kl_by_leaf` gives the KL of each Gaussian leaf.
        params: Weights with Gaussian leaves, see `mean_field`.
        batch: Inputs and targets, ``(x, y)``.
        key: Random key.
        num_data: Size N of the data set (not of the batch). By default, the batch is all the data.
        num_samples: Number of draws of the weights to average over.
        kl_weight: Factor of the KL: a temperature, or the value of a schedule at this step, see
            `jfractal.inference.kl_weight`.
        variables: Other collections that the net needs, e.g. ``{"batch_stats": ...}``.

    Returns:
        An `Elbo`.

    Raises:
        InputError: If `num_samples` is smaller than 1, `num_data` is smaller than the batch,
            `kl_weight` is negative, the batch holds a NaN (checked outside `jit`), or the
            likelihood does not return one number per example.

    References:
        Blundell et al., ICML 2015, eq. 2 and §3.4 (with weights 1/M).
    """
    check_model(model)
    check_counts(num_samples=num_samples)
    check_weight(kl_weight=kl_weight)
    check_key("key", key)
    num_data = count_data(batch, num_data)
    params = settled(params)
    key_kl, key_draw = jax.random.split(key)

    def one(key: KeyArray):
        key_outside, key_pass = jax.random.split(key)
        weights = sample(params, key_outside, where=lambda leaf: leaf.estimator == "reparam")
        run = model.training_pass({"params": weights, **(variables or {})}, batch, key_pass)
        rest = {name: tree for name, tree in run.variables.items() if name != "params"}
        return run.log_likelihood.mean(), run.metrics, rest

    values, metrics, after = jax.vmap(one)(jax.random.split(key_draw, num_samples))
    nll, divergence = -values.mean(), kl(params, model.prior, key_kl)
    value = -nll - kl_weight * divergence / num_data
    metrics = jax.tree.map(lambda m: m.mean(0), metrics)
    return Elbo(value, nll, divergence, metrics, jax.tree.map(lambda v: v[-1], after))
