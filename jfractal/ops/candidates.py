"""What many different convolutions under a `vmap` are compiled to, by platform.

On every platform, a `vmap` that only two of the three arrays of a convolution share is *folded*
into one axis, see `jfractal.ops.levels`. The result is a single, wider convolution with the same
work. The remaining `vmap`s map kernels, inputs and outputs alike, as members of an ensemble or
draws of a posterior do after their first layer. For these there are four candidates, and this file
chooses one:

========================  ============  ============================================================
of these                  it makes      because
========================  ============  ============================================================
on an accelerator
convolutions in groups    GROUPED       They are groups already: more of them change nothing.
windows up to `WINDOWS`   PRODUCT       Matrix units multiply them all at once. Laying the windows
                                        side by side costs memory traffic, here no more than the
                                        start of a kernel does.
up to `UNROLLED` others   UNROLLED      Each fills the device by itself, and has the fast kernels.
more                      LOOPED        The program must not grow with their number.
on a CPU
dense layers              (batched)     A batched product of float32, as it would be without this.
gradients, to `UNROLLED`  UNROLLED      XLA's CPU backend has fast kernels outside of loops only.
all others                LOOPED        Forward passes are as fast in a loop; see above.
========================  ============  ============================================================

`lax` itself always groups. Grouped gradients take as long as if nothing were grouped (jax#13800),
narrow groups leave tensor cores idle (pytorch#10290, where a Python loop over groups is faster),
and a TPU pads the features of each group to the 128 columns of its matrix unit. The choices for a
CPU are measured. The choices for accelerators are not: they follow from these reports, and from the
3.3 TB/s and about 5 µs per kernel launch of an NVIDIA H100, a time in which a matrix of 8 MiB is
written and read. To measure another choice, use `jfractal.ops.trilinear.lower_on`.
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jfractal.ops import half
from jfractal.ops.lowering import ConvSpec, Role, as_matrix_product, on_accelerator

__all__ = [
    "ACCELERATOR",
    "CPU",
    "GROUPED",
    "LOOPED",
    "PRODUCT",
    "UNROLLED",
    "Candidate",
    "Platform",
    "Shapes",
]

Shapes = dict[Role, tuple[int, ...]]
"""Shapes of input, kernel and output of one convolution."""

MAX_UNROLLED = 16  # convolutions that stand one after the other in a program
WINDOWS = 2**22  # entries of the matrix of all windows of one convolution, 8 MiB of bfloat16


class Candidate(NamedTuple):
    """A way to run many convolutions.

    Attributes:
        one: Runs each of them, see `jfractal.ops.lowering.on_accelerator`.
        over: ``over(function, arrays)`` maps a function over the leading axis of arrays.
    """

    one: Callable[..., jax.Array]
    over: Callable[[Callable, Any], Any]


class Platform(NamedTuple):
    """What convolutions are compiled to on one kind of device.

    Attributes:
        one: Runs a single convolution.
        choose: ``choose(spec, result, shapes, number)`` returns the candidate for `number` of them.
    """

    one: Callable[..., jax.Array]
    choose: Callable[[ConvSpec, Role, Shapes, int], Candidate]


def _vmap(function: Callable, arrays: Any) -> Any:
    return jax.vmap(function)(arrays)


def _one_by_one(function: Callable, arrays: Any) -> Any:
    number = len(jax.tree.leaves(arrays)[0])
    results = [function(jax.tree.map(lambda x, i=i: x[i], arrays)) for i in range(number)]
    return jnp.stack(results)


GROUPED = Candidate(on_accelerator, _vmap)
PRODUCT = Candidate(as_matrix_product, _vmap)
UNROLLED = Candidate(on_accelerator, _one_by_one)
LOOPED = Candidate(on_accelerator, lax.map)


def _on_accelerator(spec: ConvSpec, result: Role, shapes: Shapes, number: int) -> Candidate:
    if spec.grouping != (1, 1):
        return GROUPED
    *window, _, _ = shapes["w"]
    num_windows = prod(shapes["g"][:-1])
    is_small = prod(window) == 1 or num_windows * prod(shapes["w"][:-1]) <= WINDOWS
    if is_small and spec.is_plain(len(shapes["x"])):
        return PRODUCT
    return UNROLLED if number <= MAX_UNROLLED else LOOPED


def _on_cpu(spec: ConvSpec, result: Role, shapes: Shapes, number: int) -> Candidate:
    if not spec.strides:
        return Candidate(half.single, _vmap)
    is_loop = number > 1 and (result == "g" or number > MAX_UNROLLED)
    return Candidate(half.on_cpu, lax.map if is_loop else _one_by_one)


CPU = Platform(half.on_cpu, _on_cpu)
ACCELERATOR = Platform(on_accelerator, _on_accelerator)
