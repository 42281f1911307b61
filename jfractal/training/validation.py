"""Metrics of a posterior on held-out examples."""

from collections.abc import Sized
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jfractal import ops
from jfractal.arguments import check_key, naming
from jfractal.identity import ByContent
from jfractal.inference.batch import Batch, batch_size
from jfractal.inference.method import check_model
from jfractal.inference.model import Model
from jfractal.likelihoods import per_example
from jfractal.posterior.posterior import Posterior, check_posterior
from jfractal.posterior.samples import Point
from jfractal.predict.draws import sample_outputs
from jfractal.typing import KeyArray

__all__ = ["validate"]

NUM_SAMPLES = 8  # of a posterior that is no point


def validate(model: Model, posterior: Posterior, data: Batch, key: KeyArray) -> dict[str, float]:
    """Negative log predictive density, and the metrics of the likelihood.

    ``nll = −mean_n log mean_s p(y_n | x_n, w_s)``, in nats per example, over 8 draws of the
    weights, or one for each member of an ensemble. Metrics are means over the draws.

    Args:
        model: Net and likelihood.
        posterior: Posterior over its weights.
        data: Inputs and targets, ``(x, y)``.
        key: Random key.

    Returns:
        Metrics by name: ``nll``, and e.g. ``accuracy``.
    """
    check_model(model)
    check_posterior(posterior)
    check_key("key", key)
    with naming("data"):
        batch_size(data)
    x, y = data
    num_samples = len(posterior) if isinstance(posterior, Sized) else NUM_SAMPLES
    num_samples = 1 if isinstance(posterior, Point) else num_samples
    outputs = sample_outputs(model.apply, posterior, x, key, num_samples=num_samples)
    with naming("data"):  # targets are looked at before a compiled program hides them
        targets = jax.tree.map(jnp.asarray, y)
        check = lambda outputs: per_example(model.likelihood, outputs, targets)
        jax.eval_shape(check, jax.tree.map(lambda a: a[0], outputs))
    return {name: float(value) for name, value in _figures(ByContent(model), outputs, y).items()}


@partial(ops.jit, static_argnums=0)
def _figures(model: ByContent[Model], outputs: Any, y: Any) -> dict[str, Any]:
    likelihood = model.value.likelihood
    values = jax.vmap(lambda outputs: per_example(likelihood, outputs, y))(outputs)
    density = jax.nn.logsumexp(values, axis=0) - jnp.log(len(values))
    metrics = jax.vmap(lambda outputs: likelihood.metrics(outputs, y))(outputs)
    return {"nll": -density.mean(), **{name: m.mean() for name, m in metrics.items()}}
