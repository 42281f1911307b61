"""Seconds of functions run in turns, so that what else the machine does slows all alike."""

from collections.abc import Callable, Hashable, Mapping
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from benchmarks.row import Row

__all__ = ["interleaved", "median_ratio", "medians", "row_of_seconds"]

Name = TypeVar("Name", bound=Hashable)


def interleaved(
    functions: Mapping[Name, Callable[[], Any]],
    *,
    budget: float = 10.0,
    min_rounds: int = 5,
    in_a_row: int = 1,
) -> dict[Name, np.ndarray]:
    """Seconds of each function in each round; once before, to compile and to warm up.

    Args:
        functions: By name. Each waits for its own result.
        budget: Seconds after which no round begins, once there have been enough.
        min_rounds: What is enough.
        in_a_row: Calls of a function before the next has its turn; the last of them is timed. Of
            processes that take turns, the first call is slow: while one rests, the system takes the
            memory back that it has freed.

    Returns:
        Seconds, "rounds", by name.
    """
    for function in functions.values():
        function()
    began, rounds = perf_counter(), []
    while len(rounds) < min_rounds or perf_counter() - began < budget:
        rounds.append([[seconds(f) for _ in range(in_a_row)][-1] for f in functions.values()])
    return dict(zip(functions, np.array(rounds).T))


def seconds(function: Callable[[], Any]) -> float:
    """Of one call."""
    began = perf_counter()
    function()
    return perf_counter() - began


def medians(times: Mapping[Name, np.ndarray]) -> dict[Name, float]:
    """Of each function."""
    return {name: float(np.median(rounds)) for name, rounds in times.items()}


def median_ratio(ours: np.ndarray, other: np.ndarray) -> float:
    """The median over rounds of the ratio within a round."""
    return float(np.median(ours / other))


def row_of_seconds(
    name: str, times: Mapping[str, np.ndarray], *, per: float = 1, at_most: float | None
) -> Row:
    """Of seconds of ``ours`` and of ``other``, which is run `per` times for each of ours."""
    typical = medians(times)
    ratio = median_ratio(times["ours"], per * times["other"])
    return Row(name, typical["ours"], per * typical["other"], ratio, "s", at_most=at_most)
