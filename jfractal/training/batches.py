"""Batches from anything that can be iterated over, fetched ahead of the steps that need them."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jfractal.arguments import described, naming
from jfractal.errors import InputError
from jfractal.inference.batch import Batch, batch_size

__all__ = ["Batches", "Fetched", "Prefetched", "as_arrays", "is_arrays"]

Batches = Iterable[Batch] | Callable[[int], Iterable[Batch]]
"""An iterable of batches ``(x, y)``, or a function of the epoch that returns one."""

AHEAD = 2  # batches that wait on the device
THREAD = "jfractal-batches"


class Fetched(NamedTuple):
    """A batch on the device, or the end of all batches.

    Attributes:
        epoch: Number of the epoch; at the end, the number of epochs.
        place: Number of the batch within the epoch; 0 at the end.
        length: Number of batches in the epoch; None if the iterable does not know.
        batch: Inputs and targets; None at the end.
    """

    epoch: int
    place: int
    length: int | None
    batch: Batch | None


class Prefetched:
    """Batches, epoch after epoch, that another thread fetches and puts on the device.

    Args:
        data: An iterable that is iterated over again in every epoch, or a function of the epoch.
        skip: Number of batches to skip, which a resumed fit has already seen.
        put: Puts a batch on the device.
    """

    def __init__(self, data: Batches, skip: int, put: Callable[[Batch], Batch]):
        self._ready: queue.Queue[Fetched | BaseException] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        self._next: Fetched | BaseException | None = None
        work = lambda: self._work(data, skip, put)
        threading.Thread(target=work, name=THREAD, daemon=True).start()

    def peek(self) -> Fetched:
        """The next batch, or the end.

        Raises:
            InputError: If the batch is not a pair of inputs and targets, differs in shape from the
                first batch, or holds a NaN. Errors of the iterable itself are raised unchanged.
        """
        if self._next is None:
            self._next = self._ready.get()
        if isinstance(self._next, BaseException):
            raise self._next
        return self._next

    def pop(self) -> Fetched:
        """Removes and returns the next batch."""
        item, self._next = self.peek(), None
        return item

    def close(self) -> None:
        """Ends the thread as soon as the iterable allows."""
        self._stop.set()
        while not self._ready.empty():
            self._ready.get_nowait()

    def _work(self, data: Batches, skip: int, put: Callable[[Batch], Batch]) -> None:
        try:
            for fetched in _checked(_epochs(data, skip)):
                batch = fetched.batch
                self._offer(fetched if batch is None else fetched._replace(batch=put(batch)))
                if self._stop.is_set():
                    return
        except BaseException as error:
            self._offer(error)

    def _offer(self, item: Fetched | BaseException) -> None:
        while not self._stop.is_set():
            try:
                return self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue


def is_arrays(data: Any) -> bool:
    """Whether data are a tuple of inputs and targets, rather than an iterable of batches."""
    return isinstance(data, tuple) and len(data) == 2


def as_arrays(batch: Any) -> Batch:
    """Inputs and targets as arrays, including arrays of other libraries that NumPy can read.

    Raises:
        InputError: If `batch` is not a pair, lacks inputs or targets, or holds anything but
            numbers.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise InputError(
            f"`data` must give batches of inputs and targets, (x, y), got a {type(batch).__name__}"
        )
    for name, part in zip(("inputs", "targets"), batch):
        if not jax.tree.leaves(part):
            raise InputError(f"`data` must have {name}, got {part!r}")
    x, y = (jax.tree.map(_as_array, part) for part in batch)
    return x, y


def _as_array(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        return leaf
    array = _read(leaf)
    if array is None or not (jnp.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise InputError(f"`data` must be arrays of numbers, got {described(leaf)}")
    return array


def _read(leaf: Any) -> np.ndarray | None:
    try:
        return np.asarray(leaf)
    except (TypeError, ValueError, RuntimeError):  # whatever another library's array raises
        return None


def _epochs(data: Batches, skip: int) -> Iterator[Fetched]:
    """All batches except the first `skip`; epochs of known length are skipped without reading."""
    epoch, count, is_once = 0, 1, isinstance(data, Iterator)
    while count and not (is_once and epoch):
        batches = data(epoch) if callable(data) else data
        length = len(batches) if hasattr(batches, "__len__") else None  # type: ignore[arg-type]
        count = length or 0
        if length is None or length > skip:
            for count, batch in enumerate(batches, start=1):
                if count > skip:
                    yield Fetched(epoch, count - 1, length, as_arrays(batch))
        epoch, skip = epoch + (count > 0), max(skip - count, 0)
    yield Fetched(epoch, 0, None, None)


def _checked(fetched: Iterator[Fetched]) -> Iterator[Fetched]:
    expected = None
    for item in fetched:
        if item.batch is None:
            yield item
            return
        with naming("data"):
            batch_size(item.batch)
        shapes = jax.tree.map(lambda x: (x.shape, x.dtype.name), item.batch)
        if expected is not None and shapes != expected:
            raise InputError(
                f"`data` must give batches of the same shapes, {expected}, got {shapes}: drop a "
                "last batch that is not full, e.g. by `drop_last=True`"
            )
        expected = shapes
        yield item
