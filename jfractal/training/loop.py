"""Steps of a method as one compiled program: the core of `fit`, and `scan` for your own loops."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jfractal import ops
from jfractal.arguments import check_key, check_type, naming
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.identity import ByContent
from jfractal.inference.batch import Batch
from jfractal.inference.batch import batch_size as count_examples
from jfractal.inference.ensemble import PerMember
from jfractal.inference.method import Info, Method, Start
from jfractal.inference.net_errors import named_errors
from jfractal.likelihoods import per_example
from jfractal.nn.fast import fast
from jfractal.posterior.posterior import Posterior
from jfractal.training.devices import batch_spec, state_spec
from jfractal.typing import Array, Int, KeyArray

__all__ = [
    "Keys",
    "Program",
    "advance",
    "check_batch_size",
    "data_check",
    "epoch_orders",
    "one_step",
    "scan",
]


class Keys(NamedTuple):
    """The random keys of a fit, each for one purpose."""

    init: KeyArray
    order: KeyArray
    steps: KeyArray
    validation: KeyArray

    @classmethod
    def of(cls, key: KeyArray) -> "Keys":
        """All keys, from one."""
        return cls(*jax.random.split(key, 4))


class Program(NamedTuple):
    """What determines the compiled program, besides the shapes of its arguments.

    Attributes:
        method: The method that takes the steps.
        augment: ``augment(key, x) -> x``, or None.
        batch_size: Examples in a step; None for all of them.
        num_data: Number of examples in the data set.
        mesh: Devices, or None.
    """

    method: ByContent[Method]
    augment: ByContent[Any]
    batch_size: int | None
    num_data: int
    mesh: Mesh | None = None


def one_step(
    program: Program, state: Any, batch: Any, key: KeyArray, step: Int[Array, ""]
) -> tuple[Any, Info]:
    """A step on a batch, with a key that depends only on the number of the step.

    Args:
        program: The method and its settings.
        state: State of the method.
        batch: Inputs and targets before augmentation, or `PerMember` batches.
        key: Random key of all steps.
        step: Number of steps taken so far.

    Returns:
        The next state, and the metrics of the step by name.
    """
    key_augment, key_update = jax.random.split(jax.random.fold_in(key, step))
    if program.mesh is not None:
        batch = _pinned(batch, program.mesh, batch_spec(program.mesh, batch))
    if program.augment.value is not None:
        batch = _augmented(program.augment.value, batch, key_augment)
    state, info = program.method.value.update(state, batch, key_update, program.num_data)
    if program.mesh is not None:
        state = _pinned(state, program.mesh, state_spec(program.mesh, program.method.value))
        info = _pinned(info, program.mesh, P())
    return state, info


def _pinned(tree: Any, mesh: Mesh, spec: Any) -> Any:
    """A tree with a fixed sharding over the devices of a mesh."""
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(lambda x: lax.with_sharding_constraint(x, sharding), tree)


def _augmented(augment: Any, batch: Batch | PerMember, key: KeyArray) -> Batch | PerMember:
    if isinstance(batch, PerMember):
        x, y = batch.batches
        keys = jax.random.split(key, len(jax.tree.leaves(y)[0]))
        return PerMember((jax.vmap(augment)(keys, x), y))
    x, y = batch
    return augment(key, x), y


def epoch_orders(
    program: Program, key: KeyArray, first: int | Int[Array, ""], num_epochs: int
) -> Int[Array, "epochs *members examples"] | None:
    """The order of the examples in several epochs; None if every batch is all of the data.

    An order depends only on the key and the number of its epoch. Every member of an ensemble has
    its own order. Examples that do not fill a batch are left out of their epoch.
    """
    if program.batch_size is None:
        return None
    members = program.method.value.num_members
    used = program.num_data // program.batch_size * program.batch_size

    def order(epoch):
        own = jax.random.fold_in(key, epoch)
        if members is None:
            return jax.random.permutation(own, program.num_data)[:used]
        keys = jax.random.split(own, members)
        return jax.vmap(lambda k: jax.random.permutation(k, program.num_data)[:used])(keys)

    return jax.vmap(order)(first + jnp.arange(num_epochs))


def _batch(program: Program, data: Batch, orders: Any, position: Any) -> Batch | PerMember:
    """The batch at a position, counted in steps from the first of the epochs in `orders`."""
    size = program.batch_size
    if size is None or orders is None:
        return data
    epoch, place = jnp.divmod(position, orders.shape[-1] // size)
    order = lax.dynamic_index_in_dim(orders, epoch, keepdims=False)
    indices = lax.dynamic_slice_in_dim(order, place * size, size, axis=-1)
    batch = jax.tree.map(lambda x: x[indices], data)
    return batch if program.method.value.num_members is None else PerMember(batch)


@partial(ops.jit, static_argnums=(0, 1), donate_argnums=2)
def advance(
    program: Program,
    num_rows: int,
    state: Any,
    data: Batch,
    orders: Any,
    key: KeyArray,
    origin: Int[Array, ""],
    first: Int[Array, ""],
    last: Int[Array, ""],
) -> tuple[Any, Info]:
    """Steps `first` to `last` of a method.

    The number of steps is an argument of the program, so it is compiled once, and a trajectory does
    not depend on how it is split into calls.

    Args:
        program: See `Program`.
        num_rows: The most steps in a call.
        state: State of the method; its buffers are donated.
        data: All inputs and targets.
        orders: See `epoch_orders`.
        key: Random key of all steps.
        origin: Step at which the first epoch of `orders` begins.
        first: Number of steps taken before.
        last: Number of steps taken afterwards, at most `num_rows` more.

    Returns:
        The last state, and the metrics of the steps in the first of `num_rows` rows.
    """

    def step(state, i):
        return one_step(program, state, _batch(program, data, orders, i - origin), key, i)

    def body(i, carry):
        state, rows = carry
        state, info = step(state, i)
        put = lambda rows, x: rows.at[i - first].set(x)
        return state, jax.tree.map(put, rows, info)

    _, info = jax.eval_shape(step, state, first)
    rows = jax.tree.map(lambda x: jnp.zeros((num_rows, *x.shape), x.dtype), info)
    return lax.fori_loop(first, last, body, (state, rows))


def scan(
    method: Method,
    params: Start,
    data: Batch,
    key: KeyArray,
    *,
    num_steps: int,
    batch_size: int | None = None,
) -> tuple[Posterior, Info]:
    """`fit` as a pure function, which can be vmapped over data sets, seeds and settings.

    The trajectory is that of `fit` with the same arguments.

    Args:
        method: The method to fit.
        params: The starting point, see `Method`.
        data: Inputs and targets, ``(x, y)``, on the device.
        key: Random key.
        num_steps: Number of steps, at least 1.
        batch_size: Examples in a step. By default, all of them.

    Returns:
        The posterior, and the metrics of all steps by name, "steps".

    Raises:
        InputError: If an argument is out of range.

    Example:
        Four parts of a data set in one program::

            one = lambda data, key: jf.training.scan(method, params, data, key, num_steps=100)
            parts = x.reshape(4, 64, 2), y.reshape(4, 64)
            posteriors, history = jax.jit(jax.vmap(one))(parts, jax.random.split(key, 4))
    """
    check_type("method", method, Method, "a method, such as `jf.variational(model, optimizer)`")
    check_key("key", key)
    with naming("data"):
        num_data = count_examples(data)
    check_counts(num_steps=num_steps)
    check_batch_size(batch_size, num_data)
    program = Program(ByContent(method), ByContent(None), batch_size, num_data)
    keys, data = Keys.of(key), jax.tree.map(jnp.asarray, data)
    state = method.init(params, keys.init)
    with naming("data"):
        data_check(method, state, keys.init)(data)
    per_epoch = 1 if batch_size is None else num_data // batch_size
    orders = epoch_orders(program, keys.order, 0, -(-num_steps // per_epoch))

    def step(state, i):
        return one_step(program, state, _batch(program, data, orders, i), keys.steps, i)

    state, history = lax.scan(step, state, jnp.arange(num_steps))
    return method.posterior(state), history


def data_check(
    method: Method, state: Any, key: KeyArray, augment: Any = None
) -> Callable[[Batch], None]:
    """A check of batches of the same shapes, to call before they enter a compiled program.

    The check does not run the net. For batches after the first, it looks at the targets only.

    Raises:
        InputError: When called, if a batch does not run through the net, or the likelihood refuses
            its targets.
    """
    model, outputs = method.model, None
    shapes = jax.eval_shape(lambda: state)  # the arrays themselves would live as long as the fit

    def apply(state: Any, x: Any, key: KeyArray) -> Any:
        key_augment, key_sample = jax.random.split(key)
        x = x if augment is None else augment(key_augment, x)
        with named_errors(x):
            return fast(model.apply)(method.posterior(state).sample(key_sample), x)

    def check(batch: Batch) -> None:
        nonlocal outputs
        x, y = batch[0], jax.tree.map(jnp.asarray, batch[1])
        if outputs is None:
            outputs = jax.eval_shape(apply, shapes, x, key)
        jax.eval_shape(lambda outputs: per_example(model.likelihood, outputs, y), outputs)

    return check


def check_batch_size(batch_size: int | None, num_data: int) -> None:
    """Refuses a batch size that the data cannot fill.

    Raises:
        InputError: If `batch_size` is not between 1 and the number of examples.
    """
    if batch_size is None:
        return
    check_counts(batch_size=batch_size)
    if batch_size > num_data:
        raise InputError(
            f"`batch_size` must be between 1 and the number of examples, {num_data}, "
            f"got {batch_size}"
        )
