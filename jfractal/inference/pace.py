"""Step sizes of a chain, one for each weight: given, or found in warm-up."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from jfractal.inference.mass import mean_square, wide_ones
from jfractal.typing import Array, Int, Params

__all__ = ["Found", "Given", "Pace", "Step"]

DESCENT = 0.01  # how far a weight moves in a step at first, on the way to the posterior


class Step(NamedTuple):
    """The step ``w ← w + η Ĝ`` of each weight; Ĝ is the gradient of the log joint in nats.

    Attributes:
        sizes: η, a tree.
        brought: Variance of ``η Ĝ`` that replaces injected noise, a tree.
        memory: The memory of the pace after the step.
    """

    sizes: Params
    brought: Params
    memory: Params | None

    def push(
        self, slope: Params, noise: Params, num_data: int, temperature: float, friction: float
    ) -> Params:
        """``η Ĝ + √(2 γ η T − brought) ξ`` with the friction γ.

        Args:
            slope: ``−Ĝ / N``, the gradient of the loss in nats per example.
            noise: ξ, standard normal.
            num_data: N.
            temperature: T.
            friction: γ, 1 without momentum.
        """

        def push(g: Array, size: Array, brought: Array, e: Array) -> Array:
            heat = jnp.sqrt(jnp.maximum(2 * friction * size * temperature - brought, 0))
            return heat * e - size * num_data * g

        return jax.tree.map(push, slope, self.sizes, self.brought, noise)


class Pace(Protocol):
    """Step sizes, as functions of the gradients seen so far."""

    def begin(self, weights: Params) -> Params | None:
        """The memory before the first step."""
        ...

    def at(
        self,
        step: Int[Array, ""],
        memory: Params | None,
        gradient: Params,
        batch_size: int,
        num_data: int,
    ) -> Step:
        """Step number `step` + 1, from its gradient of the loss in nats per example."""
        ...


@dataclass(frozen=True)
class Given:
    """``η = ε M⁻¹``, or ε / N if no mass is given.

    Attributes:
        rate: ε, a function of the number of steps taken so far.
        inverse_mass: M⁻¹, a tree of variances.
    """

    rate: optax.Schedule
    inverse_mass: Params | None

    def begin(self, weights: Params) -> None:
        """None: given step sizes need no memory."""
        del weights

    def at(
        self,
        step: Int[Array, ""],
        memory: None,
        gradient: Params,
        batch_size: int,
        num_data: int,
    ) -> Step:
        """The step, in which all noise is injected."""
        del memory, batch_size
        rate = self.rate(step)
        if self.inverse_mass is None:
            sizes = jax.tree.map(lambda g: rate / num_data, gradient)
        else:
            sizes = jax.tree.map(lambda m: rate * m, self.inverse_mass)
        return Step(sizes, jax.tree.map(lambda g: jnp.zeros(()), gradient), None)


@dataclass(frozen=True)
class Found:
    """``η = 2 (1 − μ) s T / v``, at which batches contribute the share s of the noise.

    v is the mean square of the gradient, see `mean_square`; it is fixed after the warm-up. On a
    quadratic log joint of diagonal curvature H, the weights then have the correct variance T / H
    for any s. In v = T H + C, the gradient's own variance C replaces injected noise, and T H, with
    momentum times (1 − μ) / (1 + μ), makes up for the finite step. With momentum, the shares of
    T H and C in v must be known: C / H is taken to be N / B − 1 for batches of B, which holds if
    the model is right.

    In the first half of the warm-up, ``r / √v`` is added to 2 s T / v, and r falls from 0.01 to 0.
    Far from the posterior, it moves each weight by r per step, as RMSprop does.

    Attributes:
        share: s.
        momentum: μ.
        temperature: T.
        num_warmup: Steps of warm-up.
        inverse_mass: Initial variances of the weights.
    """

    share: float
    momentum: float
    temperature: float
    num_warmup: int
    inverse_mass: Params | None

    def begin(self, weights: Params) -> Params:
        """v before the first gradient."""
        return wide_ones(weights)

    def at(
        self,
        step: Int[Array, ""],
        memory: Params | None,
        gradient: Params,
        batch_size: int,
        num_data: int,
    ) -> Step:
        """The step; during the warm-up, v is first updated by this gradient."""
        now = mean_square(
            memory,
            gradient,
            step,
            num_data=num_data,
            temperature=self.temperature,
            inverse_mass=self.inverse_mass,
        )
        memory = jax.tree.map(
            lambda new, old: jnp.where(step < self.num_warmup, new, old), now, memory
        )
        descent = DESCENT * jnp.maximum(1 - 2 * step / self.num_warmup, 0)

        def size(v: Array) -> Array:
            v = jnp.maximum(v, jnp.finfo(v.dtype).tiny)
            aim = 2 * self.share * self.temperature / v
            return (1 - self.momentum) * (aim + descent / jnp.sqrt(v))

        sizes = jax.tree.map(size, memory)
        signal = self.temperature / (self.temperature + num_data / batch_size - 1)
        kept = signal * 2 * self.momentum / (1 + self.momentum)
        brought = jax.tree.map(lambda h, v: (1 - kept) * h**2 * v, sizes, memory)
        return Step(sizes, brought, memory)
