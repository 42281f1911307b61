"""Checks of counts, such as numbers of draws, steps or members."""

from operator import index
from typing import Any

from jfractal.errors import InputError

__all__ = ["check_counts"]

MOST = 2**31 - 1  # what arrays can be indexed by in 32 bits


def check_counts(least: int = 1, most: int = MOST, **counts: Any) -> None:
    """Refuses counts that are not integers, or not between `least` and `most`.

    Raises:
        InputError: If a count is refused; the message names the first.
    """
    for name, count in counts.items():
        try:
            number = index(count)
        except TypeError:
            number = None
        if number is None or isinstance(count, bool):
            raise InputError(f"`{name}` must be an integer, got {count!r}")
        if number < least:
            raise InputError(f"`{name}` must be at least {least}, got {count}")
        if number > most:
            raise InputError(f"`{name}` must be at most {most:,}, got {count}")
