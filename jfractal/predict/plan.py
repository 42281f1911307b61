"""How many examples and how many draws go through a model at once."""

from collections.abc import Callable
from functools import lru_cache
from math import ceil
from typing import Any, NamedTuple

import jax

from jfractal import ops
from jfractal.identity import ByContent

__all__ = ["Plan", "live_bytes", "plan"]


class Plan(NamedTuple):
    """The size of a pass, on each device.

    Attributes:
        batch_size: Examples in a pass.
        samples_per_pass: Draws in a pass.
        num_passes: Passes that it takes to make all draws.
    """

    batch_size: int
    samples_per_pass: int
    num_passes: int


def plan(
    cost: Callable[[int], int],
    num_examples: int,
    num_samples: int,
    *,
    batch_size: int | None = None,
    samples_per_pass: int | None = None,
) -> Plan:
    """The largest passes within the budgets of `ops`, evenly filled.

    A pass first takes as many examples as fit `ops.memory_budget`, because the weights of a draw
    are made only once for a batch. It then takes as many draws as fit `ops.side_by_side_budget`.

    Args:
        cost: ``cost(num_examples)``, the bytes that one draw takes on a batch of that size. It is
            called only if `batch_size` or `samples_per_pass` is left out.
        num_examples: Number of examples on each device.
        num_samples: Number of draws on each device.
        batch_size: Examples in a pass, if given.
        samples_per_pass: The most draws in a pass, if given.

    Returns:
        A `Plan` of at least one example and one draw.
    """
    if batch_size is None:
        batch_size = ops.largest_batch(cost, num_examples)
    batch_size = min(batch_size, num_examples)
    if samples_per_pass is None:
        samples_per_pass = max(1, ops.side_by_side_budget() // cost(batch_size))
    samples_per_pass = ops.even_part(num_samples, samples_per_pass)
    return Plan(batch_size, samples_per_pass, ceil(num_samples / samples_per_pass))


def live_bytes(function: ByContent[Callable], *args: Any) -> int:
    """`ops.live_bytes`, traced once for equal functions and arguments of equal shapes."""
    leaves, treedef = jax.tree.flatten(args)
    return _live_bytes(function, treedef, tuple(map(jax.typeof, leaves)))


@lru_cache(maxsize=256)
def _live_bytes(function: ByContent[Callable], treedef: Any, types: tuple) -> int:
    return ops.live_bytes(function.value, *treedef.unflatten(types))
