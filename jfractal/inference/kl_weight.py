"""Schedules of the KL's weight in the ELBO: functions of the step, as in optax.

A weight of 1 is the ELBO itself: in the scaling of `elbo`, each of M batches then carries 1/M of
the KL. Every schedule here comes back to that on average (`blundell`) or in the end (`warm_up`); a
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
"""``schedule(step) -> weight``, steps from 0 on."""


def blundell(num_batches: int) -> Schedule:
    """Nearly all of the KL in the first batches of each epoch, the whole of it in an epoch.

    Batch i = 1 … M of an epoch carries the share ``π_i = 2^(M−i) / (2^M − 1)`` of the KL, so its
    weight is ``M π_i``. With M above a few dozen, most batches see no KL at all: prefer 1.

    Args:
        num_batches: Batches M of an epoch, at least 1.

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
    """From 0 to 1 along a line: the fit comes first, and weights are not pruned before it.

    Args:
        num_steps: Steps until the weight is 1, at least 1.

    Returns:
        ``min(step / num_steps, 1)``.

    Raises:
        InputError: If `num_steps` is smaller than 1.

    Source: Sønderby et al., "Ladder variational autoencoders", NeurIPS 2016.
    """
    check_counts(num_steps=num_steps)
    return lambda step: jnp.minimum(jnp.asarray(step) / num_steps, 1.0)


def cyclic(period: int, *, ramp: float = 0.5) -> Schedule:
    """Warm-up again and again: from 0 to 1 in the first part of each period, 1 in the rest.

    Args:
        period: Steps of a cycle, at least 1.
        ramp: Share of the cycle in which the weight rises, in (0, 1].

    Returns:
        ``min((step mod period) / (ramp · period), 1)``.

    Raises:
        InputError: If `period` is smaller than 1 or `ramp` out of range.

    Source: Fu et al., "Cyclical annealing schedule", NAACL 2019.
    """
    check_counts(period=period)
    check_number("in (0, 1]", lambda x: 0 < x <= 1, ramp=ramp)
    return lambda step: jnp.minimum((jnp.asarray(step) % period) / (ramp * period), 1.0)
