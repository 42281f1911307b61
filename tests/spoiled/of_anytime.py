"""Spoiled calls of `jfractal.anytime`."""

from collections.abc import Iterator

import numpy as np

from jfractal import anytime
from tests.spoiled.calls import Call

RNG = np.random.default_rng(0)
PROBS = [RNG.dirichlet(np.ones(3), 6).astype(np.float32) for _ in range(2)]
LABELS = RNG.integers(0, 3, 6)


def calls() -> Iterator[Call]:
    kept = "part half precision, part a list"
    yield Call(
        anytime.nested_sets,
        {"probs": PROBS, "held_out": PROBS, "held_out_labels": LABELS, "alpha": 0.4},
        {"probs": kept, "held_out": kept},
    )
