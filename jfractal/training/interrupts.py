"""An interrupt waits for the end of a step: state and rows are whole when it is raised."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupts"]


class Interrupts:
    """Holds SIGINT and SIGTERM back until `check`; a second one of a kind is not held.

    Signals that the process does not handle in Python keep their effect. Only the main thread
    receives signals; in others this does nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._held: int | None = None

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._before[number] = handler
                    signal.signal(number, self._hold)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self._held == number:
            self._before[number](number, frame)
        self._held = number

    def check(self) -> None:
        """Lets the signal through that was held back, if there is one."""
        if self._held is not None:
            number, self._held = self._held, None
            self._before[number](number, None)
