"""Numbers of things: how many draws, steps, members."""

from operator import index
from typing import Any

from jfractal.errors import InputError

__all__ = ["check_counts"]


def check_counts(least: int = 1, **counts: Any) -> None:
    """Refuses counts that are not integers, or smaller than `least`.

    Raises:
        InputError: Naming the first of them.
    """
    for name, count in counts.items():
        try:
            index(count)
        except TypeError:
            raise InputError(f"`{name}` must be an integer, got {count!r}") from None
        if count < least:
            raise InputError(f"`{name}` must be at least {least}, got {count}")
