"""Processes that were forked from a process that uses JAX."""

import os
from functools import cache

from jfractal.errors import InputError

__all__ = ["check_not_forked"]


@cache
def _first() -> int:
    return os.getpid()


def check_not_forked() -> None:
    """Refuses to compute in a forked process, which lacks JAX's threads and would wait forever.

    Raises:
        InputError: If the process was forked from one that has called this before.
    """
    if _first() != os.getpid():
        raise InputError(
            "a process that was forked from one that uses JAX cannot compute with it; start it "
            'with `multiprocessing.get_context("spawn")`'
        )
