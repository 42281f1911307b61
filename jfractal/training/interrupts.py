"""An interrupt waits for the end of a step: state and rows are whole when it is raised."""

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
    """Holds SIGINT and SIGTERM back until `check`; a second one of a kind is not held.

    Signals that the process does not handle in Python keep their effect. Only the main thread
    receives signals; in others this does nothing.

    Attributes:
        is_forced: Whether a second one came through, at whatever moment.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._held: int | None = None
        self.is_forced = False

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._before[number] = handler
                    signal.signal(number, self._hold)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self._held == number:
            self.is_forced = True
            self._before[number](number, frame)
        self._held = number

    def check(self) -> None:
        """Lets the signal through that was held back, if there is one.

        With several processes, which take their steps together, one that is interrupted stops all.
        """
        if _is_held_by_any(self._held is not None):
            number, self._held = self._held, None
            if number is None:
                raise KeyboardInterrupt("another process was interrupted")
            self._before[number](number, None)


def _is_held_by_any(held: bool) -> bool:
    if jax.process_count() == 1:
        return held
    return bool(multihost_utils.process_allgather(np.array(held)).any())
