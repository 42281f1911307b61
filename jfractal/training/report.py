"""Reports of a running fit: its history, and the rows that callbacks receive."""

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from jfractal.inference.batch import Batch
from jfractal.inference.method import Info
from jfractal.training.history import VALIDATION, History
from jfractal.training.plan import Callback, Row

__all__ = ["Report", "Unread"]


class Unread(NamedTuple):
    """Metrics of a dispatch that is still running."""

    first: int
    info: Info
    epochs: np.ndarray
    batch: Batch | None


class Report:
    """Keeps all metrics, and passes some rows to callbacks, each row once.

    Args:
        callbacks: Functions of a row.
        log_every: Steps from one row to the next.

    Attributes:
        history: All metrics.
    """

    def __init__(self, callbacks: Sequence[Callback], log_every: int):
        self._callbacks, self._log_every = callbacks, log_every
        self._waiting: deque[Row] = deque()
        self.history = History()

    @property
    def last_validation(self) -> int:
        """Number of steps before the last validation; 0 if there was none."""
        name = f"{VALIDATION}step"
        return int(self.history[name][-1]) if name in self.history else 0

    def steps(self, columns: Mapping[str, np.ndarray]) -> None:
        """Adds the metrics of steps, by name, "steps", and calls the callbacks."""
        self.history.add(columns)
        for i in np.flatnonzero(columns["step"] % self._log_every == 0):
            self._waiting.append({name: x[i].item() for name, x in columns.items()})
        self._tell()

    def validation(self, step: int, figures: Row) -> None:
        """Adds the metrics of a validation, and calls the callbacks."""
        at = {"step": step, "epoch": float(self.history["epoch"][-1]) if step else 0.0}
        self.history.add_validation({**at, **figures})
        named = {f"{VALIDATION}{name}": value for name, value in figures.items()}
        self._waiting.append({**at, **named})
        self._tell()

    def finish(self) -> None:
        """Passes on the rows that remain after a callback was interrupted."""
        while self._waiting:
            with suppress(KeyboardInterrupt):
                self._tell()

    def _tell(self) -> None:
        while self._waiting:
            row = self._waiting.popleft()
            for callback in self._callbacks:
                callback(row)
