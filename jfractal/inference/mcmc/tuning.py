"""What warm-up learns of a target step by step, in memory that does not grow with its length."""

from typing import NamedTuple

import jax.numpy as jnp

from jfractal.typing import Array, Bool, Float, Scalar

__all__ = ["BatchMeans", "EnergyTuner", "Moments"]

TRUST = 1.5  # how far from the aim a step is still evidence: factors of e^(6 · 1.5) in the variance
MEMORY = 150  # steps that count


class Moments(NamedTuple):
    """Weighted mean and variance of each weight, by Welford's recursion: nothing cancels."""

    total: Scalar
    mean: Float[Array, " weights"]
    squares: Float[Array, " weights"]

    @classmethod
    def none(cls, like: Array) -> "Moments":
        """Of no points yet."""
        return cls(jnp.zeros((), like.dtype), jnp.zeros_like(like), jnp.zeros_like(like))

    def add(self, x: Array, weight: Scalar) -> "Moments":
        """With a point of so much weight, which may be 0."""
        total = self.total + weight
        share = jnp.where(total > 0, weight / jnp.where(total > 0, total, 1), 0)
        mean = self.mean + share * (x - self.mean)
        return Moments(total, mean, self.squares + weight * (x - self.mean) * (x - mean))

    @property
    def variance(self) -> Float[Array, " weights"]:
        """0 where there were no points."""
        return self.squares / jnp.where(self.total > 0, self.total, 1)


class EnergyTuner(NamedTuple):
    """The step size at which the energy varies as much as it should, from single steps.

    The variance of a step's error in energy grows with the sixth power of its size, of which every
    step gives an estimate; those near the aim count most, and old ones are forgotten.

    Source: Robnik & Seljak, "Fluctuation without dissipation: microcanonical Langevin Monte Carlo",
        2024, §4.
    """

    total: Scalar
    average: Scalar
    largest: Scalar

    @classmethod
    def fresh(cls, dtype: jnp.dtype) -> "EnergyTuner":
        """Without evidence."""
        zero = jnp.zeros((), dtype)
        return cls(zero, zero, zero + jnp.inf)

    def after(self, ratio: Scalar, step_size: Scalar, success: Bool[Array, ""]) -> "EnergyTuner":
        """With a step.

        Args:
            ratio: Its squared error over the variance aimed at.
            step_size: Its size.
            success: Whether it stayed among the numbers.
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
        """The size to go on with; that of now, if nothing is known."""
        known = self.total > 0
        rate = jnp.where(known, self.average / jnp.where(known, self.total, 1), 1)
        return jnp.minimum(jnp.where(known, rate ** (-1 / 6), now), self.largest)


class BatchMeans(NamedTuple):
    """How many steps apart the points of a chain are as good as independent.

    Means of b successive points have the variance ``τ/b`` times that of points, if b is longer than
    the autocorrelation time τ.

    Source: Geyer, "Practical Markov chain Monte Carlo", 1992, §3.2.
    """

    sum: Float[Array, " weights"]
    points: Moments
    means: Moments

    @classmethod
    def none(cls, like: Array) -> "BatchMeans":
        """Of no points yet."""
        return cls(jnp.zeros_like(like), Moments.none(like), Moments.none(like))

    def add(self, x: Array, place: Array, length: int, counted: Bool[Array, ""]) -> "BatchMeans":
        """With the point at a place, counted from 1, of batches of a length."""
        one = counted.astype(x.dtype)
        total = self.sum + one * x
        ends = counted & (place % length == 0)
        return BatchMeans(
            jnp.where(ends, 0, total),
            self.points.add(x, one),
            self.means.add(total / length, ends.astype(x.dtype)),
        )

    def time(self, length: int) -> Scalar:
        """τ in steps, at least 1, the mean over all weights that moved."""
        variance = self.points.variance
        moved = variance > 0
        times = length * self.means.variance / jnp.where(moved, variance, 1)
        mean = jnp.where(moved, times, 0).sum() / jnp.maximum(moved.sum(), 1)
        return jnp.maximum(mean, 1)
