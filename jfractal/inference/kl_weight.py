"""Schedules of the KL's weight in the ELBO: functions of the step, as in optax.

A weight of 1 gives the ELBO itself: in the scaling of `elbo`, each of M batches then carries 1/M of
the KL. Every schedule here has weight 1 on average (`blundell`) or in the end (`warm_up`). A
constant other than 1 is a temperature and needs no schedule.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp

from jfractal.arguments import check_number
from jfractal.counts import check_counts
from jfractal.typing import Array, Int, Scalar

__all__ = ["Schedule", "blundell", "cyclic", "warm_up"]

Schedule: TypeAlias = Callable[[int | Int[Array, ""]], float | Scalar]
"""``schedule(step) -> weight``; steps count from 0."""


def blundell(num_batches: int) -> Schedule:
    """Puts nearly all of the KL into the first batches of each epoch.

    Batch i = 1 … M of an epoch carries the share ``π_i = 2^(M−i) / (2^M − 1)`` of the KL, so its
    weight is ``M π_i``. The shares of an epoch sum to 1. If M is above a few dozen, most batches
    see no KL at all; a constant weight of 1 is then better.

    Args:
        num_batches: Number of batches M in an epoch, at least 1.

    Returns:
        A schedule whose mean over an epoch is 1.

    Raises:
        InputError: If `num_batches` is smaller than 1.

    Source: Blundell et al., ICML 2015, §3.4.
    """
    check_counts(num_batches=num_batches)
    # π_i = 2^−i / (1 − 2^−M): 2^M itself would overflow.
    scale = num_batches / (1 - 2.0**-num_batches)
    return lambda step: scale * jnp.exp2(-(jnp.asarray(step) % num_batches + 1.0))


def warm_up(num_steps: int) -> Schedule:
    """Raises the weight linearly from 0 to 1, so that weights are not pruned before they fit.

    Args:
        num_steps: Number of steps until the weight is 1, at least 1.

    Returns:
        ``min(step / num_steps, 1)``.

    Raises:
        InputError: If `num_steps` is smaller than 1.

    Source: Sønderby et al., "Ladder variational autoencoders", NeurIPS 2016.
    """
    check_counts(num_steps=num_steps)
    return lambda step: jnp.minimum(jnp.asarray(step) / num_steps, 1.0)


def cyclic(period: int, *, ramp: float = 0.5) -> Schedule:
    """Repeats a warm-up: the weight rises from 0 to 1 in the first part of each cycle, then stays.

    Args:
        period: Number of steps in a cycle, at least 1.
        ramp: Fraction of the cycle in which the weight rises, in (0, 1].

    Returns:
        ``min((step mod period) / (ramp · period), 1)``.

    Raises:
        InputError: If `period` is smaller than 1 or `ramp` out of range.

    Source: Fu et al., "Cyclical annealing schedule", NAACL 2019.
    """
    check_counts(period=period)
    check_number("in (0, 1]", lambda x: 0 < x <= 1, ramp=ramp)
    return lambda step: jnp.minimum((jnp.asarray(step) % period) / (ramp * period), 1.0)
