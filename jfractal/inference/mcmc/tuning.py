"""Online estimates for warm-up, in memory that does not grow with its length."""

from typing import NamedTuple

import jax.numpy as jnp

from jfractal.typing import Array, Bool, Float, Scalar

__all__ = ["BatchMeans", "EnergyTuner", "Moments"]

TRUST = 1.5  # how far from the aim a step is still evidence: factors of e^(6 · 1.5) in the variance
MEMORY = 150  # steps that count


class Moments(NamedTuple):
    """Weighted mean and variance of each weight, by Welford's recursion, without cancellation."""

    total: Scalar
    mean: Float[Array, " weights"]
    squares: Float[Array, " weights"]

    @classmethod
    def none(cls, like: Array) -> "Moments":
        """The estimate before any point."""
        return cls(jnp.zeros((), like.dtype), jnp.zeros_like(like), jnp.zeros_like(like))

    def add(self, x: Array, weight: Scalar) -> "Moments":
        """The moments with one more point, whose weight may be 0."""
        total = self.total + weight
        share = jnp.where(total > 0, weight / jnp.where(total > 0, total, 1), 0)
        mean = self.mean + share * (x - self.mean)
        return Moments(total, mean, self.squares + weight * (x - self.mean) * (x - mean))

    @property
    def variance(self) -> Float[Array, " weights"]:
        """The variance; 0 if there are no points."""
        return self.squares / jnp.where(self.total > 0, self.total, 1)


class EnergyTuner(NamedTuple):
    """Finds the step size at which the energy error has the target variance, from single steps.

    The variance of the energy error grows with the sixth power of the step size, so every step
    gives an estimate. Estimates near the target count most, and old ones are forgotten.

    Source: Robnik & Seljak, "Fluctuation without dissipation: microcanonical Langevin Monte Carlo",
        2024, §4.
    """

    total: Scalar
    average: Scalar
    largest: Scalar

    @classmethod
    def fresh(cls, dtype: jnp.dtype) -> "EnergyTuner":
        """A tuner that has seen no steps."""
        zero = jnp.zeros((), dtype)
        return cls(zero, zero, zero + jnp.inf)

    def after(self, ratio: Scalar, step_size: Scalar, success: Bool[Array, ""]) -> "EnergyTuner":
        """The tuner after one more step.

        Args:
            ratio: Squared energy error of the step over the target variance.
            step_size: Size of the step.
            success: Whether the result of the step is finite.
        """
        ratio = jnp.where(success, ratio, 1) + 1e-8
        weight = jnp.exp(-0.5 * (jnp.log(ratio) / (6 * TRUST)) ** 2) * success
        forget = (MEMORY - 1) / (MEMORY + 1)
        return EnergyTuner(
            forget * self.total + weight,
            forget * self.average + weight * ratio / step_size**6,
            jnp.where(success, self.largest, 0.8 * step_size),
        )

    def step_size(self, now: Scalar) -> Scalar:
        """The step size to go on with, or the current one before any step."""
        known = self.total > 0
        rate = jnp.where(known, self.average / jnp.where(known, self.total, 1), 1)
        return jnp.minimum(jnp.where(known, rate ** (-1 / 6), now), self.largest)


class BatchMeans(NamedTuple):
    """The number of steps after which the points of a chain are nearly independent.

    Means of b successive points have the variance ``τ/b`` times that of points, if b is longer than
    the autocorrelation time τ.

    Source: Geyer, "Practical Markov chain Monte Carlo", 1992, §3.2.
    """

    sum: Float[Array, " weights"]
    points: Moments
    means: Moments

    @classmethod
    def none(cls, like: Array) -> "BatchMeans":
        """The estimate before any point."""
        return cls(jnp.zeros_like(like), Moments.none(like), Moments.none(like))

    def add(self, x: Array, place: Array, length: int, counted: Bool[Array, ""]) -> "BatchMeans":
        """The means with one more point, at a place counted from 1, in batches of `length`."""
        one = counted.astype(x.dtype)
        total = self.sum + one * x
        ends = counted & (place % length == 0)
        return BatchMeans(
            jnp.where(ends, 0, total),
            self.points.add(x, one),
            self.means.add(total / length, ends.astype(x.dtype)),
        )

    def time(self, length: int) -> Scalar:
        """τ in steps, at least 1, averaged over all weights that moved."""
        variance = self.points.variance
        moved = variance > 0
        times = length * self.means.variance / jnp.where(moved, variance, 1)
        mean = jnp.where(moved, times, 0).sum() / jnp.maximum(moved.sum(), 1)
        return jnp.maximum(mean, 1)
