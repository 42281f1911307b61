"""The best state of a fit by its validations, and when to stop looking for a better one."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfractal.errors import InputError
from jfractal.training.plan import Row

__all__ = ["Best"]

DEFAULT = "nll"


class Best:
    """Early stopping.

    Args:
        monitor: Name of the metric that should be small, or with a minus in front, of one that
            should be large. By default, ``nll`` if there is one.
        patience: Number of validations without improvement after which to stop; None for never.

    Attributes:
        state: State of the best validation; None before the first.
    """

    def __init__(self, monitor: str | None, patience: int | None):
        if monitor == "accuracy":
            raise InputError(
                "`monitor` must be a metric that should be small, such as '-accuracy', got "
                "'accuracy'"
            )
        self._monitor, self._patience = monitor, patience
        self.state: Any = None
        self._value, self._num_since = math.inf, 0

    @property
    def is_over(self) -> bool:
        """Whether the last `patience` validations brought no improvement."""
        return self._patience is not None and self._num_since >= self._patience

    def consider(self, figures: Row, state: Any) -> None:
        """Keeps a copy of the state if its metrics are the best so far.

        Raises:
            InputError: If the monitored metric is not among them.
        """
        value = self._value_of(figures)
        if value is None:
            return
        self._num_since += 1
        if value < self._value:
            self._value, self._num_since = value, 0
            self.state = jax.tree.map(jnp.copy, state)

    def _value_of(self, figures: Row) -> float | None:
        monitor = DEFAULT if self._monitor is None else self._monitor
        name = monitor.removeprefix("-")
        if name in figures:
            return float(figures[name]) * (-1 if name != monitor else 1)
        if self._monitor is None and self._patience is None:
            return None
        raise InputError(
            f"`monitor` must be one of the metrics of a validation, {', '.join(figures)}, with a "
            f"minus in front if it should be large, got {monitor!r}"
        )

    def saved(self, state: Any) -> tuple[Any, np.ndarray]:
        """What a checkpoint stores; `state` is stored if there is no best state yet."""
        numbers = np.array([self._value, self._num_since, self.state is not None], np.float64)
        return (state if self.state is None else self.state), numbers

    def restore(self, saved: tuple[Any, np.ndarray]) -> None:
        """Restores what `saved` returned."""
        state, (self._value, num_since, is_known) = saved
        self._num_since = int(num_since)
        self.state = state if is_known else None
