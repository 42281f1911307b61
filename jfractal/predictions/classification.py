"""The prediction of a class."""

from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jfractal.metrics import uncertainty
from jfractal.metrics.inputs import log_probabilities
from jfractal.metrics.interval import Interval, credible_interval
from jfractal.predictions.mixture import Mixture, average
from jfractal.typing import Array, Float, Int, Scalar

__all__ = ["Prediction"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class Prediction(Mixture):
    """A distribution over classes for every example, and the sources of its uncertainty.

    Attributes:
        log_probs: Log of the predictive distribution, in nats, float32 or wider.
        aleatoric: Expected entropy over draws, in nats per example, which more data would not
            remove.

    Example:
        ::

            log_probs = jax.nn.log_softmax(jnp.zeros((10, 5, 3)))  # "samples batch classes"
            p = jf.Prediction.of(log_probs)  # of networks of any origin
            p.probs, p.entropy, p.epistemic
    """

    log_probs: Float[Array, "batch classes"]
    aleatoric: Float[Array, " batch"]

    @classmethod
    def single(cls, log_probs: Float[ArrayLike, "batch classes"]) -> Self:
        """The prediction of one draw.

        Args:
            log_probs: Normalised log probabilities, in nats.
        """
        (log_probs,) = cls.read(log_probs)
        return cls(log_probs, uncertainty.total_entropy(log_probs[None]))

    @classmethod
    def read(cls, *parameters: Any) -> tuple[Array, ...]:
        """The log probabilities, checked."""
        (log_probs,) = parameters
        return (log_probabilities("log_probs", log_probs),)

    def mixed(self, log_weights: Float[Array, " parts"]) -> Self:
        """``log Σ_r w_r p_r`` and the mean of the aleatoric uncertainties."""
        log_probs = uncertainty.mean_log_probs(self.log_probs, log_weights)
        return type(self)(log_probs, average(self.aleatoric, log_weights))

    @property
    def samples(self) -> Float[Array, "samples batch classes"]:
        """Log probabilities under each draw of the weights.

        Raises:
            InputError: If the draws were not kept.
        """
        return self.kept("samples")[0].log_probs

    @property
    def probs(self) -> Float[Array, "batch classes"]:
        """The predictive distribution."""
        return jnp.exp(self.log_probs)

    @property
    def entropy(self) -> Float[Array, " batch"]:
        """Total uncertainty: entropy of the predictive distribution, in nats per example."""
        return uncertainty.total_entropy(self.log_probs[None])

    @property
    def epistemic(self) -> Float[Array, " batch"]:
        """Mutual information of label and weights, in nats per example: entropy − aleatoric."""
        return jnp.maximum(self.entropy - self.aleatoric, 0.0)

    def credible_interval(self, mass: float = 0.95) -> Interval:
        """The central interval of each class probability over draws of the weights.

        Args:
            mass: Probability of the interval, in (0, 1).

        Returns:
            ``lower`` and ``upper``, "batch classes" each.

        Raises:
            InputError: If `mass` is out of range, or the draws were not kept.
        """
        draws, log_weights = self.kept("credible_interval")
        return credible_interval(draws.probs, mass=mass, log_weights=log_weights)

    def joint_log_prob(self, labels: Int[Array, " batch"]) -> Scalar:
        """Log probability of all labels at once, in nats, see `jfractal.metrics.joint_log_prob`.

        Args:
            labels: The true classes.

        Returns:
            ``log Σ_s w_s Π_i p(y_i | x_i, w_s)``, for the batch as a whole.

        Raises:
            InputError: If the draws were not kept.
        """
        draws, log_weights = self.kept("joint_log_prob")
        return uncertainty.joint_log_prob(draws.log_probs, labels, log_weights)
