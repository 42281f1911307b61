"""Stochastic gradient steps on data that lies on the device, as one compiled program.

For models that `jfractal.training` is too much for: no augmentation, no batch statistics, no
checkpoints. Everything here can be vmapped, e.g. over members of an ensemble or over data splits.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jfractal import ops
from jfractal.concrete import concrete
from jfractal.counts import check_counts
from jfractal.errors import DivergenceError, InputError
from jfractal.typing import Array, Float, Int, KeyArray, Params, PyTree, Scalar

__all__ = ["batch_indices", "descend", "fold", "schedule"]

State = TypeVar("State", bound=tuple[Any, ...])


def descend(
    loss: Callable[[Params, Any, KeyArray, Int[Array, ""]], Scalar],
    params: Params,
    key: KeyArray,
    data: PyTree,
    *,
    method: str,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    batch_size: int | None = None,
) -> tuple[Params, Float[Array, " steps"]]:
    """Minimises ``E_batch[loss(params, batch, key, count)]`` by `num_steps` of `optimizer`.

    Args:
        loss: Of the parameters, a batch, a random key of its own, and the number of steps before.
        params: Where to start.
        key: Random key.
        data: Tree of arrays with a common leading axis, e.g. ``(x, y)``.
        method: What this is a part of, in words, for the message of a `DivergenceError`.
        optimizer: From optax.
        num_steps: Number of steps, at least 1.
        batch_size: Examples in a step; all of them, in their order, if left out.

    Returns:
        The parameters after the last step, and the loss before each.

    Raises:
        InputError: If `num_steps` or `batch_size` is out of range.
        DivergenceError: If the parameters are not finite in the end. Under `jit` and `vmap`, where
            they cannot be seen, they are returned as they are, NaN above all.
    """

    def step(state, batch, key, count):
        params, memory = state
        value, gradient = jax.value_and_grad(loss)(params, batch, key, count)
        updates, memory = optimizer.update(gradient, memory, params)
        return (optax.apply_updates(params, updates), memory), value

    start = params, optimizer.init(params)
    (params, _), values = fold(
        step, start, key, data, method=method, num_steps=num_steps, batch_size=batch_size
    )
    return params, values


def fold(
    step: Callable[[State, Any, KeyArray, Int[Array, ""]], tuple[State, Any]],
    state: State,
    key: KeyArray,
    data: PyTree,
    *,
    method: str,
    num_steps: int,
    batch_size: int | None = None,
) -> tuple[State, Any]:
    """``state, output = step(state, batch, key, count)``, for `num_steps` mini-batches of `data`.

    Args:
        step: Of the state, a batch, a random key of its own, and the number of steps before it.
        state: A tuple of trees of arrays, the weights first.
        key: Random key.
        data: Tree of arrays with a common leading axis.
        method: As for `descend`.
        num_steps: Number of steps, at least 1.
        batch_size: Examples in a step; all of them, in their order, if left out.

    Returns:
        The last state, and the outputs of all steps, stacked.

    Raises:
        InputError: If `num_steps` or `batch_size` is out of range.
        DivergenceError: As for `descend`.
    """
    key_batches, key_steps = jax.random.split(key)
    batches = batch_indices(key_batches, data, num_steps=num_steps, batch_size=batch_size)
    turns = jax.random.split(key_steps, num_steps), jnp.arange(num_steps), batches

    # The data are an argument: what a compiled function closes over is written into its program.
    @ops.jit
    def run(state, data, turns):
        def one(state, turn):
            key, count, index = turn
            batch = data if index is None else jax.tree.map(lambda x: x[index], data)
            return step(state, batch, key, count)

        return lax.scan(one, state, turns)

    state, outputs = run(state, data, turns)
    if not is_finite(state[0]):
        raise DivergenceError(
            f"{method} diverged, its weights are not finite after {num_steps} steps: try a smaller "
            "learning rate, one that warms up, or gradient clipping"
        )
    return state, outputs


def is_finite(tree: PyTree) -> bool:
    """Whether all numbers of a tree are finite, as far as they can be seen."""
    checks = [jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]
    return all(known is None or bool(known) for known in map(concrete, checks))


def batch_indices(
    key: KeyArray, data: PyTree, *, num_steps: int, batch_size: int | None
) -> Int[Array, "steps batch"] | None:
    """Which examples are in the batch of each step: epoch by epoch, each in an order of its own.

    Args:
        key: Random key.
        data: Tree of arrays with a common leading axis.
        num_steps: Number of steps, at least 1.
        batch_size: Examples in a batch; what does not fill one is left out of its epoch.

    Returns:
        Indices, or None if `batch_size` is: every batch is all of the data, and none is copied.

    Raises:
        InputError: If `num_steps` or `batch_size` is out of range.
    """
    num_data = jax.tree.leaves(data)[0].shape[0]
    check_counts(num_steps=num_steps)
    if batch_size is None:
        return None
    check_counts(batch_size=batch_size)
    if batch_size > num_data:
        raise InputError(
            f"`batch_size` must be between 1 and the number of examples, {num_data}, "
            f"got {batch_size}"
        )
    per_epoch = num_data // batch_size
    keys = jax.random.split(key, -(-num_steps // per_epoch))
    orders = jax.vmap(lambda key: jax.random.permutation(key, num_data))(keys)
    batches = orders[:, : per_epoch * batch_size].reshape(-1, batch_size)
    return jnp.asarray(batches[:num_steps])


def schedule(learning_rate: float | optax.Schedule) -> optax.Schedule:
    """A learning rate as a function of the number of steps before.

    Raises:
        InputError: If it is a number and not above 0.
    """
    if callable(learning_rate):
        return learning_rate
    if not learning_rate > 0:
        raise InputError(f"`learning_rate` must be above 0, got {learning_rate}")
    return optax.constant_schedule(learning_rate)
