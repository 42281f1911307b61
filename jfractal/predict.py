"""Monte Carlo prediction: from a posterior over weights to a distribution over outputs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfractal import ops
from jfractal.errors import InputError
from jfractal.metrics import uncertainty
from jfractal.posterior.samples import Posterior
from jfractal.typing import Apply, Array, Float, KeyArray

__all__ = ["Prediction", "mixture", "predict", "sample_outputs"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Prediction:
    """A distribution over classes for every example, and where its uncertainty comes from.

    Attributes:
        samples: Log probabilities under each draw of the weights, "samples batch classes".
        log_weights: Log of each draw's share of the mixture, "samples"; equal if None.
    """

    samples: Float[Array, "samples batch classes"]
    log_weights: Float[Array, " samples"] | None = None

    @property
    def log_probs(self) -> Float[Array, "batch classes"]:
        """Log of the predictive distribution, the mixture of the draws, in nats."""
        return uncertainty.mean_log_probs(self.samples, self.log_weights)

    @property
    def probs(self) -> Float[Array, "batch classes"]:
        """The predictive distribution."""
        return jnp.exp(self.log_probs)

    @property
    def entropy(self) -> Float[Array, " batch"]:
        """Total uncertainty: entropy of the predictive distribution, in nats per example."""
        return uncertainty.total_entropy(self.samples, self.log_weights)

    @property
    def aleatoric(self) -> Float[Array, " batch"]:
        """Expected entropy over draws, in nats per example: what more data would not remove."""
        return uncertainty.aleatoric_entropy(self.samples, self.log_weights)

    @property
    def epistemic(self) -> Float[Array, " batch"]:
        """Mutual information of label and weights, in nats per example: entropy − aleatoric."""
        return uncertainty.epistemic_entropy(self.samples, self.log_weights)


def predict(
    apply: Apply,
    posterior: Posterior,
    x: Any,
    key: KeyArray,
    *,
    num_samples: int = 32,
    batch_size: int | None = None,
    samples_per_pass: int = 8,
) -> Prediction:
    """The posterior predictive of a classifier, ``p(y | x, D) ≈ mean_s softmax(apply(w_s, x))``.

    The arguments are those of `sample_outputs`, of which this is the log softmax.

    Returns:
        A `Prediction`.
    """
    logits = sample_outputs(
        apply,
        posterior,
        x,
        key,
        num_samples=num_samples,
        batch_size=batch_size,
        samples_per_pass=samples_per_pass,
    )
    return Prediction(jax.nn.log_softmax(logits))


def mixture(
    predictions: Sequence[Prediction], log_weights: Float[Array, " predictions"]
) -> Prediction:
    """One prediction out of several, ``p(y | x) = Σ_r π_r p_r(y | x)``, exactly.

    Over the routes of a net, each with S draws of the weights, its ``epistemic`` is the mutual
    information of the label with weights and route: columns that disagree count.

    Args:
        predictions: For the same examples.
        log_weights: Their log probabilities ``log π_r``, e.g. `Routes.log_probs`.

    Returns:
        A `Prediction` of all their draws.

    Raises:
        InputError: If there are no predictions, or not one weight for each.
    """
    if not predictions or jnp.shape(log_weights) != (len(predictions),):
        raise InputError(
            "`log_weights` must hold one number for each of one or more `predictions`, got shape "
            f"{jnp.shape(log_weights)} for {len(predictions)}"
        )
    within = [
        jnp.full(len(p.samples), -jnp.log(len(p.samples)))
        if p.log_weights is None
        else p.log_weights
        for p in predictions
    ]
    return Prediction(
        jnp.concatenate([p.samples for p in predictions]),
        jnp.concatenate([w + log_w for w, log_w in zip(within, log_weights)]),
    )


def sample_outputs(
    apply: Apply,
    posterior: Posterior,
    x: Any,
    key: KeyArray,
    *,
    num_samples: int = 32,
    batch_size: int | None = None,
    samples_per_pass: int = 8,
) -> Float[Array, "samples batch *event"]:
    """The outputs of a model under draws of its weights, ``apply(w_s, x)`` with ``w_s ~ p(w | D)``.

    Draw s is one network for all of `x`, whatever the batches. Within a pass draws are vmapped;
    memory grows with `samples_per_pass` and `batch_size`, not with `num_samples`.

    Args:
        apply: ``apply(variables, x) -> outputs``. Keep the same object between calls, e.g.
            ``net.apply``, and it is compiled once.
        posterior: A pytree with ``sample(key) -> variables``: `MeanField`, `Point`, `Samples`, …
        x: Inputs with a leading batch axis, at least one.
        key: Random key.
        num_samples: Number of draws, at least 1.
        batch_size: Examples in a pass; all of them if left out. A last batch that is not full is
            padded, so that nothing is compiled twice.
        samples_per_pass: Draws vmapped in a pass.

    Returns:
        Outputs, "samples batch *event".

    Raises:
        InputError: If a number is smaller than 1, or `x` is empty.
    """
    batch_size = len(x) if batch_size is None else batch_size
    if min(num_samples, samples_per_pass) < 1:
        raise InputError(
            "`num_samples` and `samples_per_pass` must be at least 1, "
            f"got {num_samples} and {samples_per_pass}"
        )
    if len(x) < 1 or batch_size < 1:
        raise InputError(
            f"`x` and `batch_size` must hold at least 1 example, got {len(x)} and {batch_size}"
        )
    keys = jax.random.split(key, num_samples)
    chunk = min(samples_per_pass, num_samples)
    outputs = [
        _pass(apply, posterior, batch, keys, chunk)[:, :size]
        for batch, size in _padded_batches(x, min(batch_size, len(x)))
    ]
    return jnp.concatenate(outputs, axis=1)


@partial(ops.jit, static_argnums=(0, 4))
def _pass(apply: Apply, posterior: Posterior, x: Array, keys: Array, chunk: int) -> Array:
    return jax.lax.map(lambda key: apply(posterior.sample(key), x), keys, batch_size=chunk)


def _padded_batches(x: Any, batch_size: int) -> Iterator[tuple[Any, int]]:
    for start in range(0, len(x), batch_size):
        batch = x[start : start + batch_size]
        size = len(batch)
        if size < batch_size:
            batch = np.concatenate(
                [batch, np.broadcast_to(batch[-1:], (batch_size - size, *batch.shape[1:]))]
            )
        yield batch, size
