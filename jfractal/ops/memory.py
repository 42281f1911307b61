"""The memory that a function takes, estimated from its program before it is compiled."""

import os
from collections.abc import Callable, Iterator
from math import ceil, prod
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Var

from jfractal.arguments import check_functions
from jfractal.counts import check_counts

__all__ = [
    "device_memory",
    "even_part",
    "largest_batch",
    "live_bytes",
    "memory_budget",
    "programs_within",
    "side_by_side_budget",
]

DEVICE_SHARE = 4  # of an accelerator's memory, the part of a pass is one in so many

# On CPU, where more memory makes nothing faster: beyond the first, nets are slower for every
# further example, and beyond the second, for every further draw of the weights beside the others.
CPU_BUDGET = 256 * 2**20
CPU_SIDE_BY_SIDE = 12 * 2**20


def live_bytes(function: Callable, *args: Any) -> int:
    """The most bytes that a function's intermediate values take at once.

    This is an estimate. It goes through the equations of the program in order, and assumes that
    each writes its result to memory and needs no other memory. A compiler that fuses operations
    needs less; a convolution with a workspace needs more.

    Args:
        function: A function that JAX can trace.
        *args: Its arguments, or `jax.ShapeDtypeStruct`s instead; they are not counted.

    Returns:
        Bytes, results included.
    """
    check_functions(function=function)
    return _peak(jax.make_jaxpr(function)(*args).jaxpr)


def memory_budget() -> int:
    """Bytes that a pass over data may take: a share of an accelerator's memory, less on a CPU."""
    return _accelerator_share() or CPU_BUDGET


def largest_batch(cost: Callable[[int], int], num_examples: int) -> int:
    """The size of the largest equal parts of data that fit `memory_budget`.

    Args:
        cost: ``cost(size)``, the bytes that a pass over `size` examples takes.
        num_examples: Number of examples in the data.

    Returns:
        Number of examples in a part, at least one.
    """
    check_functions(cost=cost)
    check_counts(num_examples=num_examples)
    budget = memory_budget()
    if num_examples == 1 or (total := cost(num_examples)) <= budget:
        return num_examples
    # Weights and what is made of them alone cost the same on any part: the examples have to fit.
    per_example = (total - cost(1)) / (num_examples - 1)
    return even_part(num_examples, max(1, int(budget // per_example)))


def even_part(total: int, limit: int) -> int:
    """The size of parts when a total is cut evenly into as few parts as possible.

    Args:
        total: The total number of examples.
        limit: The most examples in a part.

    Returns:
        The size of every part except the last, which may be smaller.
    """
    check_counts(total=total, limit=limit)
    return ceil(total / ceil(total / limit))


def side_by_side_budget() -> int:
    """Bytes up to which work runs faster under `vmap` than one by one: on a CPU, the cache."""
    return _accelerator_share() or CPU_SIDE_BY_SIDE


def device_memory() -> int:
    """Bytes of memory of the accelerator if there is one, otherwise of the host."""
    return _accelerator_memory() or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _accelerator_share() -> int:
    """Accelerator memory that one pass may use, in bytes; 0 without an accelerator."""
    return _accelerator_memory() // DEVICE_SHARE


def _accelerator_memory() -> int:
    """Total accelerator memory in bytes; 0 without an accelerator."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics.get("bytes_limit", 0)


def _peak(jaxpr: Jaxpr) -> int:
    last_use = {id(v): i for i, e in enumerate(jaxpr.eqns) for v in e.invars if isinstance(v, Var)}
    last_use |= {id(v): len(jaxpr.eqns) for v in jaxpr.outvars}
    live: dict[int, int] = {}
    peak = 0
    for i, equation in enumerate(jaxpr.eqns):
        within = max((_peak(inner) for inner in programs_within(equation.params)), default=0)
        results = {id(v): _bytes(v) for v in equation.outvars}
        peak = max(peak, sum(live.values()) + max(sum(results.values()), within))
        live = {v: size for v, size in (live | results).items() if last_use.get(v, i) > i}
    return peak


def programs_within(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """The programs within an equation: bodies of loops, branches, calls."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def _bytes(variable: Any) -> int:
    return prod(variable.aval.shape) * variable.aval.dtype.itemsize
