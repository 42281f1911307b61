"""Times of networks, measured side by side."""

from collections.abc import Hashable, Mapping
from time import perf_counter
from typing import Any, TypeVar

import jax
import numpy as np

import jfractal as jf

__all__ = ["milliseconds"]

Name = TypeVar("Name", bound=Hashable)


def milliseconds(
    networks: Mapping[Name, tuple[Any, Any]], inputs: Any, *, num_rounds: int
) -> dict[Name, float]:
    """Median time of a pass of each network, from the device and back.

    The networks take turns, so that other work on the machine slows all of them alike.

    Args:
        networks: Nets and their variables.
        inputs: What they run on.
        num_rounds: Passes of each network, after a first one that compiles.
    """
    forwards = {name: jf.ops.jit(net.apply) for name, (net, _) in networks.items()}

    def once(name: Name) -> float:
        began = perf_counter()
        jax.block_until_ready(forwards[name](networks[name][1], inputs))
        return 1e3 * (perf_counter() - began)

    rounds = [[once(name) for name in networks] for _ in range(1 + num_rounds)]
    return dict(zip(networks, np.median(rounds[1:], axis=0).tolist()))
