"""Spoiled calls of `jfractal.training`."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import jax
from jax.sharding import Mesh

import jfractal as jf
from jfractal.training import TensorBoard, WeightsAndBiases, recalibrate, scan, validate
from tests.spoiled.calls import Call
from tests.spoiled.problem import BATCH, KEY, MODEL, PARAMS, SGD, SHIFTED, X, Y

METHOD = jf.maximum_a_posteriori(MODEL, SGD)
PLACE = Path(mkdtemp())
BATCHES = ", ".join(f"part {word}" for word in SHIFTED.split(", "))
BATCHES += ", part an axis more, part a row less"
WEIGHTS = "entry negative, entry zero, entry doubled, entry huge, entry half precision"


def calls() -> Iterator[Call]:
    what = {"method": METHOD, "params": PARAMS, "data": BATCH, "key": KEY}
    few = {"num_steps": 1, "batch_size": 8, "progress": False}
    yield Call(
        jf.fit,
        what | few | {"log_every": 1, "callbacks": (print_nothing,), "mesh": _mesh()},
        {"params": WEIGHTS, "num_steps": "None", "callbacks": "empty, a part less"},
    )
    validated = {"validation": BATCH, "validate_every": 1, "monitor": "nll", "patience": 1}
    yield Call(partial(jf.fit, **what, **few), validated, {"patience": "huge"}, "fit(validation)")
    yield Call(
        partial(jf.fit, METHOD, PARAMS, BATCH, KEY, batch_size=8, progress=False),
        {"num_epochs": 1, "augment": lambda key, x: x, "num_data": 8},
        name="fit(num_epochs)",
    )
    for name, data in (
        ("fit of inputs", lambda x: (x, Y)),
        ("fit of a list", lambda x: [(x, Y)]),
    ):
        more = {} if name == "fit of inputs" else {"num_data": 8}
        yield Call(
            lambda data, wrap=data, more=more: jf.fit(
                METHOD, PARAMS, wrap(data), KEY, num_steps=1, progress=False, **more
            ),
            {"data": X},
            {"data": SHIFTED},
            name=name,
        )
    yield Call(
        lambda data: jf.fit(METHOD, PARAMS, [(X, data)], KEY, num_steps=1, num_data=8),
        {"data": Y},
        name="fit of a list of labels",
    )
    yield Call(
        lambda directory, checkpoint_every: jf.fit(
            METHOD,
            PARAMS,
            BATCH,
            KEY,
            num_steps=1,
            directory=directory,
            checkpoint_every=checkpoint_every,
        ),
        {"directory": PLACE / "fit", "checkpoint_every": 1},
        {"directory": "None, a string", "checkpoint_every": "None, huge"},
        name="fit(directory)",
    )
    yield Call(scan, what | {"num_steps": 1, "batch_size": 8}, {"params": WEIGHTS}, may_be_nan=True)
    yield Call(
        lambda data: scan(METHOD, PARAMS, (data, Y), KEY, num_steps=1),
        {"data": X},
        {"data": SHIFTED},
        name="scan of inputs",
    )
    point = jf.Point({"params": PARAMS})
    yield Call(validate, {"model": MODEL, "posterior": point, "data": BATCH, "key": KEY})
    net = jf.FractalNet(3, columns=2, widths=(4,), unit=jf.nn.DenseUnit)
    variables = net.init(KEY, X)
    yield Call(
        recalibrate,
        {"apply": net.apply, "variables": variables, "batches": [X], "routes": (None, 1)},
        {
            "batches": BATCHES,
            "variables": ", ".join(f"{'entry ' * 5}{word}" for word in SHIFTED.split(", ")),
            "routes": "a part less, part None",
        },
        known_as={"variables": "params", "routes": "column"},
    )
    yield Call(WeightsAndBiases, {"run": _Run()}, known_as={"run": "wandb"})
    yield Call(TensorBoard, {"directory": PLACE / "board"}, {"directory": "a string"})


def print_nothing(row: dict) -> None:
    return None


def _mesh() -> Mesh:
    return Mesh(jax.devices()[:1], ("data",))


class _Run:
    """What Weights & Biases gives."""

    def log(self, row: dict, step: int) -> None:
        """Forgets."""
