"""Maximum a posteriori: the weights of the highest log joint."""

from collections.abc import Callable

import jax
import optax
from jax import lax

from jfractal.errors import InputError
from jfractal.posterior.samples import Point
from jfractal.typing import Array, Float, Params, Scalar

__all__ = ["ascend", "maximum_a_posteriori"]


def maximum_a_posteriori(
    log_joint: Callable[[Params], Scalar],
    params: Params,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
) -> Point:
    """``argmax_w log p(D, w)`` by gradient ascent on the full data, as one compiled program.

    Args:
        log_joint: Function of a tree of weights, in nats, see `LogJoint`.
        params: Where to start.
        optimizer: From optax. It sees the log joint as it is: summed, not averaged.
        num_steps: Number of steps, at least 1.

    Returns:
        A `Point` posterior.
    """
    params, _ = ascend(lambda w, _: log_joint(w), params, jax.random.key(0), optimizer, num_steps)
    return Point({"params": params})


def ascend(
    objective: Callable[[Params, Array], Scalar],
    params: Params,
    key: Array,
    optimizer: optax.GradientTransformation,
    num_steps: int,
) -> tuple[Params, Float[Array, " steps"]]:
    """Maximises ``objective(params, key)`` by `num_steps` of `optimizer`, each with its own key.

    Returns:
        The parameters after the last step, and the objective before each.
    """
    if num_steps < 1:
        raise InputError(f"`num_steps` must be at least 1, got {num_steps}")

    def step(carry, key):
        params, state = carry
        loss, gradient = jax.value_and_grad(lambda w: -objective(w, key))(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), -loss

    @jax.jit
    def run(params):
        keys = jax.random.split(key, num_steps)
        (params, _), values = lax.scan(step, (params, optimizer.init(params)), keys)
        return params, values

    return run(params)
