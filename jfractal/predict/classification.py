"""A posterior's prediction of a class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jfractal.errors import InputError
from jfractal.metrics import uncertainty
from jfractal.metrics.interval import Interval, credible_interval
from jfractal.posterior.posterior import Posterior
from jfractal.predict.draws import sample_outputs
from jfractal.typing import Apply, Array, Float, Int, KeyArray, Scalar

__all__ = ["Prediction", "mixture", "predict"]


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

    def credible_interval(self, mass: float = 0.95) -> Interval:
        """The central interval of each class probability over draws of the weights.

        Args:
            mass: Probability of the interval, in (0, 1).

        Returns:
            ``lower`` and ``upper``, "batch classes" each.

        Raises:
            InputError: If `mass` is out of range.
        """
        probs = jnp.exp(self.samples)
        return credible_interval(probs, mass=mass, log_weights=self.log_weights)

    def joint_log_prob(self, labels: Int[Array, " batch"]) -> Scalar:
        """Log probability of all labels at once, in nats, see `jfractal.metrics.joint_log_prob`.

        Args:
            labels: The true classes.

        Returns:
            ``log Σ_s w_s Π_i p(y_i | x_i, w_s)``, for the batch as a whole.
        """
        return uncertainty.joint_log_prob(self.samples, labels, self.log_weights)


def predict(
    apply: Apply,
    posterior: Posterior,
    x: Any,
    key: KeyArray,
    *,
    num_samples: int = 32,
    batch_size: int | None = None,
    samples_per_pass: int | None = None,
    mesh: Mesh | None = None,
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
        mesh=mesh,
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
