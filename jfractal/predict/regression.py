"""A posterior's prediction of a number."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jfractal.errors import InputError
from jfractal.metrics.interval import Interval, gaussian_mixture_interval
from jfractal.metrics.uncertainty import mixture_moments
from jfractal.posterior.likelihoods import Gaussian, HeteroscedasticGaussian
from jfractal.posterior.posterior import Posterior
from jfractal.predict.draws import sample_outputs
from jfractal.typing import Apply, Array, Float, KeyArray

__all__ = ["RegressionPrediction", "predict_regression"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RegressionPrediction:
    """An equal mixture of normals for every example, and where its uncertainty comes from.

    Everything is in units of the target.

    Attributes:
        means: Under each draw of the weights, "samples batch *event".
        scales: Standard deviations of the noise under each draw, of the same shape.
    """

    means: Float[Array, " samples batch *event"]
    scales: Float[Array, " samples batch *event"]

    @property
    def mean(self) -> Float[Array, " batch *event"]:
        """Mean of the predictive distribution."""
        return jnp.mean(self.means, axis=0)

    @property
    def std(self) -> Float[Array, " batch *event"]:
        """Standard deviation of the predictive distribution, √(aleatoric + epistemic)."""
        return jnp.sqrt(mixture_moments(self.means, self.scales).total)

    @property
    def aleatoric(self) -> Float[Array, " batch *event"]:
        """Mean variance of the noise, in squared units: what more data would not remove."""
        return mixture_moments(self.means, self.scales).aleatoric

    @property
    def epistemic(self) -> Float[Array, " batch *event"]:
        """Variance of the means over draws of the weights, in squared units."""
        return mixture_moments(self.means, self.scales).epistemic

    def log_prob(self, y: Float[Array, " batch *event"]) -> Float[Array, " batch"]:
        """Log density of the targets, ``log mean_s Π_event N(y; mean_s, scale_s²)``.

        Args:
            y: Targets, in the units of the prediction.

        Returns:
            Nats per example.

        Raises:
            InputError: If the shape of `y` is not that of the prediction.
        """
        if jnp.shape(y) != self.means.shape[1:]:
            raise InputError(f"`y` must have shape {self.means.shape[1:]}, got {jnp.shape(y)}")
        log_probs = norm.logpdf(jnp.asarray(y)[None], self.means, self.scales)
        of_draws = jnp.sum(log_probs, axis=range(2, log_probs.ndim))
        return jax.nn.logsumexp(of_draws, axis=0) - jnp.log(len(of_draws))

    def credible_interval(self, mass: float = 0.95) -> Interval:
        """The central interval of the target, noise included.

        Args:
            mass: Probability of the interval, in (0, 1).

        Returns:
            ``lower`` and ``upper``, "batch *event" each.

        Raises:
            InputError: If `mass` is out of range.
        """
        return gaussian_mixture_interval(self.means, self.scales, mass=mass)


def predict_regression(
    apply: Apply,
    posterior: Posterior,
    x: Any,
    key: KeyArray,
    *,
    likelihood: Gaussian | HeteroscedasticGaussian,
    target_mean: ArrayLike = 0.0,
    target_scale: ArrayLike = 1.0,
    num_samples: int = 32,
    batch_size: int | None = None,
    samples_per_pass: int | None = None,
    mesh: Mesh | None = None,
) -> RegressionPrediction:
    """The posterior predictive of a regression, ``p(y | x, D) ≈ mean_s p(y | apply(w_s, x))``.

    The other arguments are those of `sample_outputs`.

    Args:
        apply: As for `sample_outputs`.
        posterior: As for `sample_outputs`.
        x: As for `sample_outputs`.
        key: As for `sample_outputs`.
        likelihood: What the net was trained with; it reads means and noise from the outputs.
        target_mean: What was subtracted from the targets before training, "*event" or a number.
        target_scale: What they were then divided by.
        num_samples: As for `sample_outputs`.
        batch_size: As for `sample_outputs`.
        samples_per_pass: As for `sample_outputs`.
        mesh: As for `sample_outputs`.

    Returns:
        A `RegressionPrediction` in the original units.
    """
    outputs = sample_outputs(
        apply,
        posterior,
        x,
        key,
        num_samples=num_samples,
        batch_size=batch_size,
        samples_per_pass=samples_per_pass,
        mesh=mesh,
    )
    means, scales = likelihood.moments(outputs)
    event = means.shape[2:]
    shift = jnp.broadcast_to(target_mean, (1, 1, *event))
    factor = jnp.broadcast_to(target_scale, (1, 1, *event))
    return RegressionPrediction(means * factor + shift, scales * factor)
