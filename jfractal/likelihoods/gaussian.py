"""Targets that are real numbers, with Gaussian noise."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from jfractal.arguments import as_array, check_finite, check_positive
from jfractal.errors import InputError
from jfractal.likelihoods.likelihood import (
    Likelihood,
    check_shapes,
    sum_over_event,
    wide_outputs,
)
from jfractal.predictions.mixture import wide
from jfractal.predictions.regression import RegressionPrediction
from jfractal.typing import Array, Float

__all__ = ["Gaussian", "HeteroscedasticGaussian"]


@dataclass(frozen=True)
class Gaussian(Likelihood):
    """Real targets with noise of a known standard deviation; outputs are the means.

    Attributes:
        scale: Standard deviation of the noise, above 0 and finite.

    Raises:
        InputError: If `scale` is not finite and above 0.
    """

    scale: float

    def __post_init__(self):
        check_positive(scale=self.scale)

    def moments(self, outputs: Float[Array, "*shape"]) -> tuple[Array, Array]:
        """Mean and standard deviation of the targets, of the shape of the outputs."""
        outputs = wide_outputs("outputs", outputs)
        return outputs, jnp.full_like(outputs, self.scale)

    def log_likelihood(
        self, outputs: Float[Array, " batch *event"], targets: Float[Array, " batch *event"]
    ) -> Float[Array, " batch"]:
        """``log N(target; output, scale²)``, in nats, summed over the axes of one target.

        Raises:
            InputError: If the shapes differ, or a target is not finite.
        """
        return _gaussian_log_likelihood(*self.moments(outputs), targets)

    def prediction(self, outputs: Float[Array, " batch *event"]) -> RegressionPrediction:
        """The normal distribution."""
        return RegressionPrediction.single(*self.moments(wide(outputs)))


@dataclass(frozen=True)
class HeteroscedasticGaussian(Likelihood):
    """Real targets whose mean and noise the net both outputs.

    The last axis of the outputs holds the means of all k values of a target, then k values of ρ:
    ``outputs = [mean_1 … mean_k, ρ_1 … ρ_k]`` and ``std = softplus(ρ) + min_scale``. A net with 2k
    outputs learns noise that depends on the input. For noise that does not, wrap a net with k
    outputs in `jfractal.nn.LearnedNoise`.

    Attributes:
        min_scale: Least standard deviation, finite and above 0, in units of the targets, which
            should be standardised. Without it, the density of a target that is predicted exactly
            has no bound.

    Source: Nix & Weigend, 1994; Lakshminarayanan et al., "Simple and scalable predictive
        uncertainty estimation using deep ensembles", NeurIPS 2017, §2.2.1 (the floor).
    """

    min_scale: float = 1e-3

    def __post_init__(self):
        check_positive(min_scale=self.min_scale)

    def moments(self, outputs: Float[Array, "*shape"]) -> tuple[Array, Array]:
        """Mean and standard deviation of the targets, each from half of the outputs' last axis.

        Raises:
            InputError: If the length of that axis is odd.
        """
        outputs = wide_outputs("outputs", outputs)
        if outputs.ndim < 1 or outputs.shape[-1] % 2 or not outputs.size:
            raise InputError(
                "the last axis of `outputs` must hold a mean and a rho for each value of a "
                f"target, an even number, got shape {outputs.shape}"
            )
        mean, rho = jnp.split(outputs, 2, axis=-1)
        return mean, jax.nn.softplus(rho) + self.min_scale

    def log_likelihood(
        self, outputs: Float[Array, " batch *event"], targets: Float[Array, " batch *half"]
    ) -> Float[Array, " batch"]:
        """``log N(target; mean, std²)``, in nats, summed over the axes of one target.

        Raises:
            InputError: If targets do not have the shape of the means, or one is not finite.
        """
        return _gaussian_log_likelihood(*self.moments(outputs), targets)

    def prediction(self, outputs: Float[Array, " batch *event"]) -> RegressionPrediction:
        """The normal distribution."""
        return RegressionPrediction.single(*self.moments(wide(outputs)))


def _gaussian_log_likelihood(mean: Array, std: Array, targets: Array) -> Float[Array, " batch"]:
    values = as_array("targets", targets)
    check_shapes(mean, values)
    check_finite("targets", values)
    return sum_over_event(norm.logpdf(jnp.asarray(values), mean, std))
