"""Maximum a posteriori: the weights of the highest log joint."""

from collections.abc import Callable

import jax
import optax

from jfractal.inference.descent import descend
from jfractal.inference.log_joint import LogJoint
from jfractal.posterior.samples import Point
from jfractal.typing import KeyArray, Params

__all__ = ["maximum_a_posteriori"]


def maximum_a_posteriori(
    log_joint: LogJoint,
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    batch_size: int | None = None,
) -> Point:
    """``argmax_w log p(D, w)`` by stochastic gradient ascent, as one compiled program.

    Args:
        log_joint: Data, model, prior and likelihood.
        init: Draws the start, e.g. ``lambda key: net.init(key, x)["params"]``.
        key: Random key.
        optimizer: From optax; it sees the log joint in nats per example, ``log p(D, w) / N``.
        num_steps: Number of steps, at least 1.
        batch_size: Examples in a step; all of them if left out.

    Returns:
        A `Point` posterior.

    Raises:
        InputError: If an argument is out of range, or the targets do not fit the likelihood.
        DivergenceError: If the weights are not finite; under `jit` and `vmap`, NaN is returned.
    """
    key_init, key_run = jax.random.split(key)
    start = init(key_init)
    log_joint.check(start)
    params, _ = descend(
        lambda params, batch, *_: -log_joint.estimate(params, batch) / log_joint.num_data,
        start,
        key_run,
        log_joint.data,
        method="maximum a posteriori",
        optimizer=optimizer,
        num_steps=num_steps,
        batch_size=batch_size,
    )
    return Point({"params": params})
