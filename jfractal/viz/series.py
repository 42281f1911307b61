"""Checks of the content of pictures: mappings of names, and series of numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jfractal.arguments import as_array, check_finite, check_type, described
from jfractal.errors import InputError

__all__ = ["check_label", "named", "series"]

MOST = 1000  # panels or lines, beyond which a picture shows nothing


def named(argument: str, value: Any, what: str) -> dict[str, Any]:
    """A mapping from names to the things that are drawn, with at least one entry.

    Raises:
        InputError: If `value` is not such a mapping, or a name is not a string.
    """
    check_type(argument, value, Mapping, f"a mapping of names to {what}")
    if not 0 < len(value) <= MOST:
        raise InputError(f"`{argument}` must hold from 1 to {MOST} {what}, got {len(value)}")
    for name in value:
        check_type(argument, name, str, f"a mapping of names, which are strings, to {what}")
    return dict(value)


def series(argument: str, value: Any, *, ndim: int = 1, finite: bool = True) -> np.ndarray:
    """Numbers in an array with `ndim` axes, none of them empty.

    Raises:
        InputError: If `value` is not such an array, or if `finite` and a number is not.
    """
    x = np.asarray(as_array(argument, value))
    if x.ndim != ndim or not x.size:
        raise InputError(
            f"`{argument}` must have {ndim} axes, none of them empty, got {described(x)}"
            if ndim > 1
            else f"`{argument}` must be a vector, not empty, got {described(x)}"
        )
    if finite:
        check_finite(argument, x)
    return x.astype(np.float64)


def check_label(**labels: Any) -> None:
    """Refuses a label that is not a string."""
    for name, label in labels.items():
        check_type(name, label, str, "a string")
