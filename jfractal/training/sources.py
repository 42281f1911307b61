"""Sources of the batches of a fit: arrays on the device, or an iterable."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from jfractal import ops
from jfractal.arguments import naming
from jfractal.errors import InputError
from jfractal.identity import ByContent
from jfractal.inference.batch import Batch
from jfractal.inference.batch import batch_size as count_examples
from jfractal.inference.method import Info, Method
from jfractal.training.batches import Batches, Fetched, Prefetched, as_arrays, is_arrays
from jfractal.training.devices import batch_spec, placed
from jfractal.training.loop import Keys, Program, advance, check_batch_size, epoch_orders
from jfractal.training.plan import Plan
from jfractal.typing import KeyArray

__all__ = ["Arrays", "Stream", "source_of"]

MAX_ROWS = 256  # steps of a dispatch
MAX_INDICES = 2**20  # of examples in the orders of some epochs, on the device at a time


def source_of(method: Method, plan: Plan, data: Batch | Batches, keys: Keys) -> "Arrays | Stream":
    """Arrays or an iterable as a source of batches.

    Raises:
        InputError: If `data` is neither, or `batch_size` or `num_data` does not apply to it.
    """
    about = ByContent(method), ByContent(plan.augment)
    if is_arrays(data):
        with naming("data"):
            examples = as_arrays(data)
            num_data = count_examples(examples)
        if plan.num_data not in (None, num_data):
            raise InputError(f"`num_data` is for iterables only; `data` has {num_data} examples")
        check_batch_size(plan.batch_size, num_data)
        program = Program(*about, plan.batch_size, num_data, plan.mesh)
        return Arrays(program, examples, keys.order, keys.steps)
    if not (callable(data) or hasattr(data, "__iter__")) or isinstance(data, str | dict):
        raise InputError(
            "`data` must be inputs and targets (x, y), an iterable of such batches, or a function "
            f"of the epoch that returns one, got a {type(data).__name__}"
        )
    if plan.batch_size is not None:
        raise InputError(
            "`batch_size` is for arrays only; `data` is an iterable, which has its own batches"
        )
    program = Program(*about, None, plan.num_data or _length(data), plan.mesh)
    return Stream(program, data, keys.steps)  # type: ignore[arg-type]


def _length(data: Any) -> int:
    """The number of examples of a `torch` `DataLoader` and the like."""
    try:
        return len(data.dataset)
    except (AttributeError, TypeError):
        raise InputError(
            "`num_data` must be given for an iterable: the number of examples it stands for, by "
            "which the prior is weighted against the likelihood"
        ) from None


class Arrays:
    """Data on the device, in a new order in every epoch.

    Args:
        program: See `Program`.
        data: Inputs and targets.
        key_order: Random key of the orders.
        key_steps: Random key of the steps.

    Attributes:
        program: See `Program`.
        batch: All data, on the host if they came from there.
        steps_per_epoch: Number of steps in an epoch.
    """

    def __init__(self, program: Program, data: Batch, key_order: KeyArray, key_steps: KeyArray):
        self.program, self._key_order = program, key_order
        self.batch = data
        self._data, self._key_steps = placed((data, key_steps), program.mesh)
        size = program.batch_size
        self.steps_per_epoch = 1 if size is None else program.num_data // size
        per_epoch = program.num_data * (program.method.value.num_members or 1)
        self._window = max(MAX_INDICES // per_epoch, 1)
        self._orders: Any = None
        self._origin = -1

    def seek(self, step: int, check: Callable[[Batch], None]) -> None:
        """Goes to the batch of a step, and checks all data."""
        check(self.batch)

    def close(self) -> None:
        """Does nothing, because no thread runs."""

    def limit(self, step: int) -> int:
        """The step up to which one dispatch may go."""
        if self.program.batch_size is None:
            return step + MAX_ROWS
        end_of_window = self._first_of_window(step) + self._window * self.steps_per_epoch
        return min(end_of_window, step + MAX_ROWS)

    def _first_of_window(self, step: int) -> int:
        """The first step of the epochs whose orders are made together."""
        steps = self._window * self.steps_per_epoch
        return step - step % steps

    def advance(self, state: Any, first: int, last: int) -> tuple[Any, Info]:
        """The state after steps `first` to `last`, and their metrics, "rows"."""
        origin = self._first_of_window(first)
        if self.program.batch_size is not None and origin != self._origin:
            epoch = np.int32(origin // self.steps_per_epoch)
            orders = _orders(self.program, self._window, self._key_order, epoch)
            self._origin, self._orders = origin, placed(orders, self.program.mesh)
        numbers = map(np.int32, (origin, first, last))
        return advance(
            self.program, MAX_ROWS, state, self._data, self._orders, self._key_steps, *numbers
        )

    def epochs(self, first: int, last: int) -> np.ndarray:
        """Number of epochs completed after each step of the last dispatch."""
        return (np.arange(first, last) + 1) / self.steps_per_epoch

    def epochs_done(self, step: int) -> int:
        """Number of whole epochs completed after a step."""
        return step // self.steps_per_epoch

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch ends with this step."""
        return step % self.steps_per_epoch == 0


@partial(ops.jit, static_argnums=(0, 1))
def _orders(program: Program, num_epochs: int, key: KeyArray, first: int) -> Any:
    return epoch_orders(program, key, first, num_epochs)


class Stream:
    """Batches of an iterable, one per dispatch.

    Args:
        program: See `Program`.
        data: The batches.
        key_steps: Random key of the steps.

    Attributes:
        program: See `Program`.
    """

    def __init__(self, program: Program, data: Batches, key_steps: KeyArray):
        self.program, self._data = program, data
        self._key_steps = placed(key_steps, program.mesh)
        self._batches: Prefetched | None = None
        self._last: Fetched | None = None

    def seek(self, step: int, check: Callable[[Batch], None]) -> None:
        """Goes to the batch of a step; every batch is checked before it goes to the device."""
        self.close()

        def put(batch: Batch) -> Batch:
            with naming("data"):
                check(batch)
            return self._put(batch)

        self._batches = Prefetched(self._data, step, put)
        self._batches.peek()

    def close(self) -> None:
        """Ends the thread that fetches batches."""
        if self._batches is not None:
            self._batches.close()

    def _put(self, batch: Batch) -> Batch:
        mesh = self.program.mesh
        return placed(batch, mesh) if mesh is None else placed(batch, mesh, batch_spec(mesh, batch))

    @property
    def _ahead(self) -> Prefetched:
        assert self._batches is not None, "`seek` first"
        return self._batches

    @property
    def _shown(self) -> Fetched:
        return self._last or self._ahead.peek()

    @property
    def steps_per_epoch(self) -> int | None:
        """Number of batches in an epoch, if known."""
        return self._shown.length

    @property
    def batch(self) -> Batch | None:
        """The last batch, or the first if there was none."""
        return self._shown.batch

    def limit(self, step: int) -> int:
        """The step up to which one dispatch may go."""
        return step + 1

    def advance(self, state: Any, first: int, last: int) -> tuple[Any, Info]:
        """The state after the next batch, or unchanged if last = first; and its metrics, "1".

        Raises:
            InputError: If there is no next batch.
        """
        fetched = self._ahead.peek()
        if fetched.batch is None:
            raise InputError(
                f"`data` ended after {first} batches, and more steps were asked for: give an "
                "iterable that can be iterated over again, such as a list or a DataLoader, or a "
                "function of the epoch"
            )
        if last > first:
            self._last = self._ahead.pop()
        numbers = map(np.int32, (first, first, last))
        return advance(self.program, 1, state, fetched.batch, None, self._key_steps, *numbers)

    def epochs(self, first: int, last: int) -> np.ndarray:
        """Number of epochs completed after the last step, whole if their length is not known."""
        epoch, place, length, _ = self._shown
        return np.array([epoch + (0.0 if length is None else (place + 1) / length)])

    def epochs_done(self, step: int) -> int:
        """Number of whole epochs completed after the last step."""
        return self._ahead.peek().epoch

    def ends_epoch(self, step: int) -> bool:
        """Whether the next batch is the first of its epoch, or there is none."""
        return self._ahead.peek().place == 0
