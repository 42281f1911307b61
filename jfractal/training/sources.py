"""Where the batches of a fit come from: arrays on the device, or an iterable."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jfractal import ops
from jfractal.errors import InputError
from jfractal.inference.batch import Batch
from jfractal.inference.ensemble import PerMember
from jfractal.inference.method import Info
from jfractal.training.batches import Batches, prefetched
from jfractal.training.loop import DATA, Program, advance, epoch_orders, one_step
from jfractal.typing import KeyArray

__all__ = ["Arrays", "Stream"]

MAX_ROWS = 256  # steps of a dispatch
MAX_INDICES = 2**20  # of examples in the orders of some epochs, on the device at a time


class Arrays:
    """Data on the device, in an order of its own in every epoch.

    Args:
        program: See `Program`.
        data: Inputs and targets.
        key_order: Random key of the orders.
        key_steps: Random key of the steps.
    """

    def __init__(self, program: Program, data: Batch, key_order: KeyArray, key_steps: KeyArray):
        self._program, self._key_order, self._key_steps = program, key_order, key_steps
        sharding = None if program.mesh is None else NamedSharding(program.mesh, P())
        self._data = jax.device_put(data, sharding)
        size = program.batch_size
        self.steps_per_epoch = 1 if size is None else program.num_data // size
        self._window = max(MAX_INDICES // program.num_data, 1)
        self._orders: Any = None
        self._first_epoch = -1

    def limit(self, step: int) -> int:
        """The step up to which one dispatch may go."""
        if self._program.batch_size is None:
            return step + MAX_ROWS
        epoch = step // self.steps_per_epoch
        end = (epoch - epoch % self._window + self._window) * self.steps_per_epoch
        return min(end, step + MAX_ROWS)

    def advance(self, state: Any, first: int, last: int) -> tuple[Any, Info]:
        """The state after steps `first` to `last`, and their figures, "rows"."""
        epoch = first // self.steps_per_epoch
        begin = epoch - epoch % self._window
        if self._program.batch_size is not None and begin != self._first_epoch:
            self._first_epoch = begin
            self._orders = _orders(self._program, self._window, self._key_order, begin)
        origin = 0 if self._program.batch_size is None else begin * self.steps_per_epoch
        return advance(
            self._program,
            MAX_ROWS,
            state,
            self._data,
            self._orders,
            self._key_steps,
            *(jnp.asarray(n, jnp.int32) for n in (origin, first, last)),
        )

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch ends with this step."""
        return step % self.steps_per_epoch == 0

    def epoch(self, step: int) -> float:
        """Epochs that are done after a step."""
        return step / self.steps_per_epoch


@partial(ops.jit, static_argnums=(0, 1))
def _orders(program: Program, num_epochs: int, key: KeyArray, first: int) -> Any:
    return epoch_orders(program, key, first, num_epochs)


class Stream:
    """Batches of an iterable, one in a dispatch.

    Args:
        program: See `Program`.
        data: The batches.
        key_steps: Random key of the steps.
        steps_per_epoch: Batches of an epoch, if that is known.
        num_steps: Steps of the fit, if that is known.
    """

    def __init__(
        self,
        program: Program,
        data: Batches,
        key_steps: KeyArray,
        num_steps: int | None,
    ):
        self._program, self._data, self._key_steps = program, data, key_steps
        length = len(data) if hasattr(data, "__len__") else None
        self.steps_per_epoch = length
        self._num_steps = num_steps
        self._batches: Iterator[tuple[int, Batch]] | None = None
        self._next: tuple[int, Batch] | None = None
        self._epoch = 0

    def limit(self, step: int) -> int:
        """The step up to which one dispatch may go."""
        return step + 1

    def advance(self, state: Any, first: int, last: int) -> tuple[Any, Info]:
        """The state after the next batch, and its figures, "1"."""
        if self._batches is None:
            self._begin(first)
        if self._next is None:
            raise InputError(
                f"`data` ended after {first} batches, and {self._num_steps or 'more'} steps were "
                "asked for: give an iterable that can be iterated over again, such as a list or a "
                "DataLoader, or a function of the epoch"
            )
        self._epoch, batch = self._next
        if self._program.mesh is not None:
            spec = P(DATA) if DATA in self._program.mesh.axis_names else P()
            batch = jax.device_put(batch, NamedSharding(self._program.mesh, spec))
        result = _one(self._program, state, batch, self._key_steps, jnp.asarray(first, jnp.int32))
        assert self._batches is not None
        self._next = next(self._batches, None)
        return result

    def _begin(self, first: int) -> None:
        epoch, skip = divmod(first, self.steps_per_epoch) if self.steps_per_epoch else (0, first)
        self._batches = prefetched(self._data, epoch, skip)
        self._next = next(self._batches, None)

    def ends_epoch(self, step: int) -> bool:
        """Whether the last batch was the last of its epoch."""
        return self._next is None or self._next[0] > self._epoch

    def epoch(self, step: int) -> float:
        """Epochs that are done after a step."""
        if self.steps_per_epoch:
            return step / self.steps_per_epoch
        return float(self._epoch + 1) if self.ends_epoch(step) else float(self._epoch)


@partial(ops.jit, static_argnums=0, donate_argnums=1)
def _one(program: Program, state: Any, batch: Batch | PerMember, key: KeyArray, step: Any) -> Any:
    state, info = one_step(program, state, batch, key, step)
    return state, jax.tree.map(lambda x: x[None], info)


def as_rows(info: Info, number: int) -> dict[str, np.ndarray]:
    """Figures of the first rows on the host, "steps" or "steps members"."""
    return {name: np.asarray(x)[:number] for name, x in jax.device_get(info).items()}
