"""The prediction of one binary label, or of several."""

from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jfractal.metrics import uncertainty
from jfractal.metrics.inputs import scores, truths
from jfractal.metrics.interval import Interval, credible_interval
from jfractal.predictions.mixture import Mixture, average
from jfractal.typing import Array, Float, Shaped

__all__ = ["BinaryPrediction"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class BinaryPrediction(Mixture):
    """The probability that a label is true, for every label of every example.

    The event axes are those of the net's outputs for one example: none, an axis of length 1, or an
    axis of labels. All uncertainties are those of each label separately, in nats.

    Attributes:
        log_odds: ``log p / (1 − p)`` of the predictive probability p, accurate near 0 and 1.
        aleatoric: Expected entropy over draws, which more data would not remove.
    """

    log_odds: Float[Array, " batch *event"]
    aleatoric: Float[Array, " batch *event"]

    @classmethod
    def single(cls, log_odds: Float[ArrayLike, " batch *event"]) -> Self:
        """The prediction of one draw.

        Args:
            log_odds: Logits of each label.
        """
        (log_odds,) = cls.read(log_odds)
        return cls(log_odds, uncertainty.total_entropy(_both(log_odds)[None]))

    @classmethod
    def read(cls, *parameters: Any) -> tuple[Array, ...]:
        """The log odds, checked; they may be infinite."""
        (log_odds,) = parameters
        return (scores("log_odds", log_odds, "*batch"),)

    def mixed(self, log_weights: Float[Array, " parts"]) -> Self:
        """The log odds of ``Σ_r w_r p_r``, and the mean of the aleatoric uncertainties."""
        log_probs = uncertainty.mean_log_probs(_both(self.log_odds), log_weights)
        log_odds = log_probs[..., 1] - log_probs[..., 0]
        return type(self)(log_odds, average(self.aleatoric, log_weights))

    @property
    def samples(self) -> Float[Array, " samples batch *event"]:
        """Log odds under each draw of the weights.

        Raises:
            InputError: If the draws were not kept.
        """
        return self.kept("samples")[0].log_odds

    @property
    def probs(self) -> Float[Array, " batch *event"]:
        """The predictive probability that a label is true."""
        return jax.nn.sigmoid(self.log_odds)

    @property
    def log_probs(self) -> Float[Array, " batch *event"]:
        """Log of the predictive probability that a label is true, in nats."""
        return jax.nn.log_sigmoid(self.log_odds)

    @property
    def entropy(self) -> Float[Array, " batch *event"]:
        """Total uncertainty: entropy of the predictive probability of each label, in nats."""
        return uncertainty.total_entropy(_both(self.log_odds)[None])

    @property
    def epistemic(self) -> Float[Array, " batch *event"]:
        """Mutual information of a label and the weights, in nats: entropy − aleatoric."""
        return jnp.maximum(self.entropy - self.aleatoric, 0.0)

    def log_prob(self, y: Shaped[ArrayLike, " batch *event"]) -> Float[Array, " batch"]:
        """Log probability of all labels of an example, ``log Σ_s w_s Π_event p(y_event | w_s)``.

        Args:
            y: Labels, 0 or 1.

        Returns:
            Nats per example.

        Raises:
            InputError: If the shape of `y` is not that of the prediction, or the draws were not
                kept.
        """
        draws, log_weights = self.kept("log_prob")
        is_true = truths("y", y, self.log_odds.shape, "log_odds")[None]
        log_probs = jax.nn.log_sigmoid(jnp.where(is_true, draws.log_odds, -draws.log_odds))
        of_draws = jnp.sum(log_probs, axis=range(2, log_probs.ndim))
        return jax.nn.logsumexp(of_draws + log_weights[:, None], axis=0)

    def credible_interval(self, mass: float = 0.95) -> Interval:
        """The central interval of each probability over draws of the weights.

        Args:
            mass: Probability of the interval, in (0, 1).

        Returns:
            ``lower`` and ``upper``, "batch *event" each.

        Raises:
            InputError: If `mass` is out of range, or the draws were not kept.
        """
        draws, log_weights = self.kept("credible_interval")
        return credible_interval(draws.probs, mass=mass, log_weights=log_weights)


def _both(log_odds: Array) -> Array:
    """Log probabilities of false and true along a last axis: a binary label has two classes."""
    return jnp.stack([jax.nn.log_sigmoid(-log_odds), jax.nn.log_sigmoid(log_odds)], axis=-1)
