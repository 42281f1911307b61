"""The evidence lower bound: what variational inference maximises."""

from typing import Any, NamedTuple

import jax

from jfractal.concrete import concrete
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.batch import batch_size
from jfractal.posterior.divergence import kl
from jfractal.posterior.gaussian import gaussians, sample
from jfractal.posterior.likelihoods import Likelihood, check_likelihood, per_example
from jfractal.posterior.priors import PriorLike, as_prior
from jfractal.typing import Apply, Array, KeyArray, Params, Scalar, Variables

__all__ = ["Elbo", "elbo"]


class Elbo(NamedTuple):
    """An estimate of the evidence lower bound and its two parts.

    Attributes:
        value: The bound, in nats per example of the data set: ``−nll − kl_weight · kl / num_data``.
        nll: Negative log likelihood under draws of the weights, in nats per example.
        kl: KL(q ‖ prior) in nats, summed over all weights and not weighted.
        outputs: Of the model under each draw of the weights, "samples batch *event".
        updates: What `apply` returned beside the outputs, if it was given ``mutable``; else None.
    """

    value: Scalar
    nll: Scalar
    kl: Scalar
    outputs: Array
    updates: Any = None


def elbo(
    apply: Apply,
    params: Params,
    batch: tuple[Any, Any],
    key: KeyArray,
    *,
    prior: PriorLike,
    likelihood: Likelihood,
    num_data: int,
    num_samples: int = 1,
    kl_weight: float | Scalar = 1.0,
    variables: Variables | None = None,
    **apply_options: Any,
) -> Elbo:
    """Estimates the evidence lower bound on a batch, per example of the data set.

    ``ELBO / N = mean_batch E_q[log p(y | x, w)] − KL(q ‖ p) / N``. Scaled so, it does not depend on
    the size of the batch, and each of M batches carries 1/M of the KL. Where a batch is shared by
    devices, the mean of their bounds is the bound.

    Leaves of estimator ``reparam`` are drawn here, once for the batch, whatever the model; the
    others are left for `BayesDense` and `BayesConv` to draw.

    Args:
        apply: ``apply(variables, x, **apply_options) -> outputs``, of any Flax model.
        params: Weights with Gaussian leaves, see `mean_field`.
        batch: Inputs and targets, ``(x, y)``.
        key: Random key.
        prior: Prior over the Gaussian leaves; `kl_by_leaf` says what each of them costs.
        likelihood: Likelihood of the targets given the outputs.
        num_data: Size N of the data set (not of the batch), at least that of the batch.
        num_samples: Draws of the weights to average over.
        kl_weight: Factor of the KL: a temperature, or the value of a schedule at this step, see
            `jfractal.training.kl_weight`.
        variables: Other collections that `apply` needs, e.g. ``{"batch_stats": ...}``.
        **apply_options: Passed on to `apply`. With ``mutable``, the updated collections of the
            last draw are returned as `Elbo.updates`.

    Returns:
        An `Elbo`.

    Raises:
        InputError: If `num_samples` is smaller than 1, `num_data` than the batch, `kl_weight` than
            0, the batch holds a NaN that can be seen, `prior` or `likelihood` is none, or the
            likelihood does not return one number per example.

    Source: Blundell et al., ICML 2015, eq. 2 and §3.4 (with weights 1/M).
    """
    prior = as_prior(prior)
    check_likelihood(likelihood)
    check_counts(num_samples=num_samples)
    check_counts(0, num_data=num_data)
    weight = concrete(kl_weight)
    if weight is not None and not weight >= 0:
        raise InputError(f"`kl_weight` must be at least 0, got {kl_weight}")
    size = batch_size(batch)
    if num_data < size:
        raise InputError(
            f"`num_data` must be at least {size}, the examples of the batch, for it counts those "
            f"of the whole data set, got {num_data}"
        )
    x, y = batch
    key_kl, key_draw = jax.random.split(key)

    def log_likelihood(key: KeyArray):
        key_outside, key_inside = jax.random.split(key)
        weights = sample(params, key_outside, where=lambda leaf: leaf.estimator == "reparam")
        options = dict(apply_options)
        if gaussians(weights):
            options["rngs"] = {"posterior": key_inside, **options.get("rngs", {})}
        outputs = apply({"params": weights, **(variables or {})}, x, **options)
        outputs, updates = outputs if "mutable" in options else (outputs, None)
        return per_example(likelihood, outputs, y).mean(), outputs, updates

    values, outputs, updates = jax.vmap(log_likelihood)(jax.random.split(key_draw, num_samples))
    nll, divergence = -values.mean(), kl(params, prior, key_kl)
    value = -nll - kl_weight * divergence / num_data
    return Elbo(value, nll, divergence, outputs, jax.tree.map(lambda u: u[-1], updates))
