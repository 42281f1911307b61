"""The history of a fit: the metrics of every step and of every validation."""

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["VALIDATION", "History"]

VALIDATION = "validation/"


class History(Mapping[str, np.ndarray]):
    """Arrays by name: ``step``, ``epoch``, ``loss`` and its parts, with an entry for every step.

    Metrics of a validation have names like ``validation/nll``; ``validation/step`` is the step
    after which it took place. Metrics of an ensemble are averaged over members.
    """

    def __init__(self, columns: Mapping[str, np.ndarray] | None = None):
        self._parts: dict[str, list[np.ndarray]] = {
            name: [np.asarray(x)] for name, x in (columns or {}).items()
        }

    def __getitem__(self, name: str) -> np.ndarray:
        parts = self._parts[name]
        if len(parts) > 1:
            parts[:] = [np.concatenate(parts)]
        return parts[0]

    def __iter__(self) -> Any:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return f"History of {', '.join(f'{name} [{len(self[name])}]' for name in self)}"

    def add(self, columns: Mapping[str, np.ndarray]) -> None:
        """Adds the metrics of steps, by name, "steps"."""
        for name, x in columns.items():
            self._parts.setdefault(name, []).append(np.asarray(x))

    def add_validation(self, row: Mapping[str, float]) -> None:
        """Adds the metrics of one validation."""
        self.add({VALIDATION + name: np.array([value]) for name, value in row.items()})
