"""Batches from anything that can be iterated over, fetched ahead of the steps that need them."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from jfractal.errors import InputError
from jfractal.inference.batch import Batch, batch_size

__all__ = ["Batches", "is_arrays", "prefetched"]

Batches = Iterable[Batch] | Callable[[int], Iterable[Batch]]
"""An iterable of batches ``(x, y)``, or a function of the epoch that returns one."""

AHEAD = 2  # batches that wait on the device
END = object()


def is_arrays(data: Any) -> bool:
    """Whether data are a tuple of inputs and targets, and not an iterable of batches."""
    return isinstance(data, tuple) and len(data) == 2


def prefetched(data: Batches, first_epoch: int, skip: int) -> Iterator[tuple[int, Batch]]:
    """Batches, epoch after epoch for ever, each with the number of its epoch.

    Another thread fetches them and puts them on the device. All must have the shapes of the first.

    Args:
        data: An iterable, iterated over anew in every epoch; or a function of the epoch.
        first_epoch: Number of the epoch to begin with.
        skip: Batches of that epoch to pass over, which a resumed fit has seen.

    Raises:
        InputError: If there is no batch, or one is no pair of inputs and targets, has another shape
            than the first, or holds a NaN.
    """
    ready: queue.Queue[Any] = queue.Queue(AHEAD)
    stop = threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for epoch, batch in _checked(_epochs(data, first_epoch, skip)):
                put((epoch, jax.device_put(batch)))
                if stop.is_set():
                    return
            put(END)
        except BaseException as error:
            put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        while (item := ready.get()) is not END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()


def _epochs(data: Batches, first_epoch: int, skip: int) -> Iterator[tuple[int, Batch]]:
    epoch, is_once = first_epoch, isinstance(data, Iterator)
    while True:
        batches = data(epoch) if callable(data) else data
        count = 0
        for count, batch in enumerate(batches, start=1):
            if epoch > first_epoch or count > skip:
                yield epoch, _as_numpy(batch)
        if count == 0 or is_once:
            return
        epoch += 1


def _as_numpy(batch: Any) -> Batch:
    """A batch of arrays, also of those of other libraries that NumPy can read."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise InputError(
            f"`data` must give batches of inputs and targets, (x, y), got a {type(batch).__name__}"
        )
    x, y = (
        jax.tree.map(lambda a: a if isinstance(a, jax.Array) else np.asarray(a), part)
        for part in batch
    )
    return x, y


def _checked(batches: Iterable[tuple[int, Batch]]) -> Iterator[tuple[int, Batch]]:
    expected = None
    for epoch, batch in batches:
        batch_size(batch)
        shapes = jax.tree.map(lambda x: (np.shape(x), np.dtype(x.dtype).name), batch)
        if expected is not None and shapes != expected:
            raise InputError(
                f"`data` must give batches of the same shapes, {expected}, got {shapes}: drop a "
                "last batch that is not full, e.g. by `drop_last=True`"
            )
        expected = shapes
        yield epoch, batch
