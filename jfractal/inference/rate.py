"""Learning rates: numbers, or functions of the step, as in optax."""

from typing import Any

import jax.numpy as jnp
import optax

from jfractal.arguments import check_positive
from jfractal.counts import check_counts
from jfractal.typing import Array

__all__ = ["cosine_cycles", "schedule"]


def schedule(learning_rate: float | optax.Schedule) -> optax.Schedule:
    """A learning rate as a function of the number of steps taken so far.

    Raises:
        InputError: If `learning_rate` is a number that is not above 0.
    """
    if callable(learning_rate):
        return learning_rate
    check_positive(learning_rate=learning_rate)
    return optax.constant_schedule(learning_rate)


def cosine_cycles(learning_rate: float, cycle_length: int) -> optax.Schedule:
    """``ε_k = ε₀ / 2 · (1 + cos(π (k mod L) / L))``: falls to 0 in L steps, then jumps back to ε₀.

    A chain leaves its mode at the start of a cycle, and samples from another at the end.

    Args:
        learning_rate: ε₀, above 0.
        cycle_length: L, at least 1.

    Returns:
        The learning rate as a function of the number of steps taken so far.

    Raises:
        InputError: If an argument is out of range.

    References:
        Zhang et al., "Cyclical stochastic gradient MCMC", ICLR 2020, eq. 1.
    """
    check_counts(cycle_length=cycle_length)
    check_positive(learning_rate=learning_rate)

    def rate(count: Any) -> Array:
        return learning_rate / 2 * (1 + jnp.cos(jnp.pi * (count % cycle_length) / cycle_length))

    return rate
