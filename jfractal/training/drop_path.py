"""Drop-path in training: which part of the net a mini-batch runs through."""

from dataclasses import dataclass

import numpy as np

from jfractal.counts import check_counts
from jfractal.errors import InputError

__all__ = ["DropPath"]


@dataclass(frozen=True)
class DropPath:
    """Draws a route for every mini-batch: the joined net, or one column alone.

    With probability `global_rate` the batch runs through one column of all blocks, drawn
    uniformly ("global" drop-path), and nothing else is computed; else through the joined net, in
    which the objective drops join inputs ("local").

    Attributes:
        columns: Columns of the net, at least 1.
        global_rate: Share of global batches, in [0, 1].

    Raises:
        InputError: If either is out of range.

    Source: Larsson et al., ICLR 2017, §3: rate 1/2, one draw for each mini-batch.
    """

    columns: int
    global_rate: float = 0.5

    def __post_init__(self):
        check_counts(columns=self.columns)
        if not 0 <= self.global_rate <= 1:
            raise InputError(f"`global_rate` must be in [0, 1], got {self.global_rate}")

    def route(self, seed: int, step: int) -> int | None:
        """The route of a step: None for the joined net, else the column, counted from 1.

        Drawn on the host, so that a global step is a program of its own and costs what its column
        costs; and from the step alone, so that a resumed run draws the same.
        """
        rng = np.random.default_rng((seed, step))
        if rng.random() >= self.global_rate:
            return None
        return int(rng.integers(1, self.columns + 1))
