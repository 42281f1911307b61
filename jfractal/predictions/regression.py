"""The prediction of real numbers."""

from dataclasses import dataclass, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from jfractal.arguments import as_array
from jfractal.errors import InputError
from jfractal.metrics.inputs import non_negative, real
from jfractal.metrics.interval import Interval, gaussian_mixture_interval
from jfractal.predictions.mixture import Mixture, average
from jfractal.typing import Array, Float

__all__ = ["RegressionPrediction"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class RegressionPrediction(Mixture):
    """A mixture of normals for every example, and the sources of its uncertainty.

    Everything is in the units of the targets that the net was trained on. If these were
    standardised, `in_original_units` undoes that.

    Attributes:
        mean: Mean of the predictive distribution.
        aleatoric: Mean variance of the noise, in squared units, which more data would not remove.
        epistemic: Variance of the means over draws of the weights, in squared units.
    """

    mean: Float[Array, " batch *event"]
    aleatoric: Float[Array, " batch *event"]
    epistemic: Float[Array, " batch *event"]

    @classmethod
    def single(
        cls, mean: Float[ArrayLike, " batch *event"], scale: Float[ArrayLike, " batch *event"]
    ) -> Self:
        """The prediction of one draw: a normal.

        Args:
            mean: Mean of the normal.
            scale: Standard deviation of the normal, i.e. of the noise.
        """
        mean, scale = cls.read(mean, scale)
        return cls(mean, jnp.square(scale), jnp.zeros_like(mean))

    @classmethod
    def read(cls, *parameters: Any) -> tuple[Array, ...]:
        """The means and standard deviations, checked to have the same shape."""
        mean, scale = parameters
        mean, scale = real("mean", mean), non_negative("scale", scale)
        if mean.shape != scale.shape:
            raise InputError(
                f"`scale` must have the shape of `mean`, {mean.shape}, got {scale.shape}"
            )
        return mean, scale

    def mixed(self, log_weights: Float[Array, " parts"]) -> Self:
        """The law of total variance: ``Var[μ] = E_r[Var_r[μ]] + Var_r[E_r[μ]]``."""
        mean = average(self.mean, log_weights)
        spread = jnp.square(self.mean - mean[None])
        return type(self)(
            mean,
            average(self.aleatoric, log_weights),
            average(self.epistemic + spread, log_weights),
        )

    @property
    def means(self) -> Float[Array, " samples batch *event"]:
        """Means under each draw of the weights.

        Raises:
            InputError: If the draws were not kept.
        """
        return self.kept("means")[0].mean

    @property
    def scales(self) -> Float[Array, " samples batch *event"]:
        """Standard deviations of the noise under each draw of the weights.

        Raises:
            InputError: If the draws were not kept.
        """
        return jnp.sqrt(self.kept("scales")[0].aleatoric)

    @property
    def std(self) -> Float[Array, " batch *event"]:
        """Standard deviation of the predictive distribution, √(aleatoric + epistemic)."""
        return jnp.sqrt(self.aleatoric + self.epistemic)

    def in_original_units(self, target_mean: ArrayLike, target_scale: ArrayLike) -> Self:
        """The prediction of targets that were standardised before training.

        Log densities change with the units, by ``−log target_scale``.

        Args:
            target_mean: The value that was subtracted from the targets, "*event" or a number.
            target_scale: The value that they were then divided by, above 0, "*event" or a number.

        Raises:
            InputError: If an argument has a wrong shape, or `target_scale` is not above 0.

        Example:
            ::

                p = jf.RegressionPrediction.of(jnp.zeros((10, 5)), jnp.ones((10, 5)))
                p = p.in_original_units(target_mean=20.0, target_scale=4.0)
        """
        event = self.mean.shape[1:]
        for name, value in {"target_mean": target_mean, "target_scale": target_scale}.items():
            if as_array(name, value).shape not in {(), event}:
                raise InputError(
                    f"`{name}` must be a number or have the shape {event} of a target, got shape "
                    f"{jnp.shape(value)}"
                )
        shift = real("target_mean", target_mean)
        factor = non_negative("target_scale", target_scale, zero=False)

        def scaled(p: Self) -> Self:
            shift_, factor_ = (jnp.broadcast_to(a, p.mean.shape) for a in (shift, factor))
            return replace(
                p,
                mean=p.mean * factor_ + shift_,
                aleatoric=p.aleatoric * factor_**2,
                epistemic=p.epistemic * factor_**2,
            )

        draws = None if self.draws is None else scaled(self.draws)
        return replace(scaled(self), draws=draws)

    def log_prob(self, y: Float[ArrayLike, " batch *event"]) -> Float[Array, " batch"]:
        """Log density of the targets, ``log Σ_s w_s Π_event N(y; mean_s, scale_s²)``.

        Args:
            y: Targets, in the units of the prediction.

        Returns:
            Nats per example.

        Raises:
            InputError: If the shape of `y` is not that of the prediction, or the draws were not
                kept.
        """
        _, log_weights = self.kept("log_prob")
        y = real("y", y)
        if y.shape != self.mean.shape:
            raise InputError(f"`y` must have shape {self.mean.shape}, got {y.shape}")
        log_probs = norm.logpdf(y[None], self.means, self.scales)
        of_draws = jnp.sum(log_probs, axis=range(2, log_probs.ndim))
        return jax.nn.logsumexp(of_draws + log_weights[:, None], axis=0)

    def credible_interval(self, mass: float = 0.95) -> Interval:
        """The central interval of the target, noise included.

        Args:
            mass: Probability of the interval, in (0, 1).

        Returns:
            ``lower`` and ``upper``, "batch *event" each.

        Raises:
            InputError: If `mass` is out of range, or the draws were not kept.
        """
        _, log_weights = self.kept("credible_interval")
        return gaussian_mixture_interval(
            self.means, self.scales, mass=mass, log_weights=log_weights
        )
