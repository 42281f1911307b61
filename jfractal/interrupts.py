"""Interrupts that wait for the end of a step or a file, so that no state is left incomplete."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

__all__ = ["Interrupts"]


class Interrupts:
    """Holds SIGINT and SIGTERM back until `check`; a second signal of the same kind is not held.

    A signal that is still held takes effect at the end of the block, unless the block ends with an
    error. Signals that the process does not handle in Python keep their effect, and a forked
    process handles its own at once. Only the main thread receives signals; in other threads this
    does nothing.

    Attributes:
        is_forced: Whether a second signal came through.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._held: int | None = None
        self._process = os.getpid()
        self.is_forced = False

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._before[number] = handler
                    signal.signal(number, self._hold)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self._release()

    def _hold(self, number: int, frame: FrameType | None) -> None:
        self.is_forced |= self._held == number
        if self.is_forced or os.getpid() != self._process:
            self._held = None
            self._before[number](number, frame)
        else:
            self._held = number

    def check(self) -> None:
        """Raises the signal that was held back, if there is one.

        Several processes take their steps together; an interrupt of one stops all of them.
        """
        if _is_held_by_any(self._held is not None):
            if self._held is None:
                raise KeyboardInterrupt("another process was interrupted")
            self._release()

    def _release(self) -> None:
        number, self._held = self._held, None
        if number is not None:
            self._before[number](number, None)


def _is_held_by_any(held: bool) -> bool:
    if jax.process_count() == 1:
        return held
    return bool(multihost_utils.process_allgather(np.array(held)).any())
