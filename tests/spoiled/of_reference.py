"""Spoiled calls of `jfractal.reference`."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from jfractal import reference
from tests.spoiled.calls import Call
from tests.spoiled.of_chains import _chains
from tests.spoiled.problem import BATCH, MODEL, NET, X

PLACE = Path(mkdtemp())


def calls() -> Iterator[Call]:
    chains, path = _chains(), PLACE / "reference.npz"
    about = {"model": MODEL, "data": BATCH, "x": X, "apply": NET.apply}
    shifted = "negative, zero, doubled, booleans, huge, half precision, a row less"
    shifted += ", an axis more, NaN, all NaN, inf, -inf"
    yield Call(
        reference.save,
        {"path": path, "chains": chains, **about, "with_weights": True},
        {"path": "a string", "x": shifted},
        known_as={"data": "targets|x"},
        may_be_nan=True,
    )
    reference.save(path, chains, MODEL, BATCH, X)
    yield Call(
        reference.load,
        {"path": path, **about},
        {"path": "a string"},  # as `save` wrote it above
        known_as={"data": "path", "x": "path"},
    )
    table = PLACE / "probs.npy"
    np.save(table, np.full((4, 2), 0.5))
    yield Call(reference.load_probs, {"path": table})
