"""Likelihoods: the log probability of targets, given the outputs of a net."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from jfractal.errors import InputError
from jfractal.typing import Array, Float, Int

__all__ = ["Categorical", "Gaussian", "Likelihood"]


class Likelihood:
    """``log p(target | outputs)`` of one example, in nats."""

    def log_likelihood(self, outputs: Array, targets: Array) -> Float[Array, " batch"]:
        """Log likelihood of every example, in nats."""
        raise NotImplementedError


@dataclass(frozen=True)
class Categorical(Likelihood):
    """Class labels; outputs are logits."""

    def log_likelihood(
        self, outputs: Float[Array, "batch classes"], targets: Int[Array, " batch"]
    ) -> Float[Array, " batch"]:
        """``log softmax(outputs)[target]``, in nats per example."""
        return -optax.softmax_cross_entropy_with_integer_labels(outputs, targets)


@dataclass(frozen=True)
class Gaussian(Likelihood):
    """Real targets with noise of a known standard deviation; outputs are the means.

    Attributes:
        scale: Standard deviation of the noise, above 0.
    """

    scale: float

    def __post_init__(self):
        if not self.scale > 0:
            raise InputError(f"`scale` must be above 0, got {self.scale}")

    def log_likelihood(
        self, outputs: Float[Array, " batch *event"], targets: Float[Array, " batch *event"]
    ) -> Float[Array, " batch"]:
        """``log N(target; output, scale²)``, in nats, summed over the axes of one target."""
        if outputs.shape != targets.shape:
            raise InputError(
                f"`targets` must have the shape of the outputs {outputs.shape}, got {targets.shape}"
            )
        log_prob = jax.scipy.stats.norm.logpdf(targets, outputs, self.scale)
        return jnp.sum(log_prob, axis=range(1, log_prob.ndim))
