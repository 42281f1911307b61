"""Spoiled calls of models: `jfractal.Model`, its constructors, `fractal_model`."""

from collections.abc import Iterator

import equinox as eqx
import flax.linen as nn
from flax import nnx

import jfractal as jf
from tests.spoiled.calls import Call
from tests.spoiled.problem import BATCH, KEY, MODEL, NET, PARAMS, VARIABLES

ABOUT = {"prior": MODEL.prior, "likelihood": MODEL.likelihood}


class Told(nn.Module):
    """A net that is told whether it trains."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dropout(0.1, deterministic=not train)(nn.Dense(3)(x))


def train(variables, x, key):
    return NET.apply(variables, x), variables


def calls() -> Iterator[Call]:
    yield Call(jf.Model, {"apply": NET.apply, "train": train, **ABOUT})
    yield Call(
        jf.Model.from_linen,
        {"net": Told(), "training": "train", "rngs": ("dropout",), **ABOUT},
        {"rngs": "another word, empty, a part less, a mapping, part another word, part empty"},
    )
    yield Call(jf.Model.from_nnx, {"module": nnx.Linear(2, 3, rngs=nnx.Rngs(0)), **ABOUT})
    module, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(2, "batch", mode="batch")
    net = eqx.nn.Sequential([eqx.nn.Linear(2, 2, key=KEY), module])
    yield Call(
        jf.Model.from_equinox,
        {"module": net, "state": state, "axis_name": "batch", **ABOUT},
        {"axis_name": "another word, empty"},
    )
    blocks = jf.FractalNet(3, columns=2, widths=(4,))
    yield Call(
        jf.fractal_model,
        {
            "net": blocks,
            "routes": "two_pass",
            "global_rate": 0.5,
            "drop_path": 0.1,
            "distillation": 0.5,
            **ABOUT,
        },
        {"global_rate": "zero", "drop_path": "zero", "distillation": "zero"},
    )
    yield Call(
        jf.FractalModel,
        {
            "apply": blocks.apply,
            "net": blocks,
            "routes": "two_pass",
            "global_rate": 0.5,
            "drop_path": 0.1,
            "distillation": 0.5,
            "route": 1,
            **ABOUT,
        },
        {"global_rate": "zero", "drop_path": "zero", "distillation": "zero", "route": "zero"},
    )
    yield Call(MODEL.choose, {"key": KEY, "step": lambda model: 1})
    words = (
        "negative",
        "zero",
        "doubled",
        "huge",
        "half precision",
        "NaN",
        "all NaN",
        "inf",
        "-inf",
    )
    kept = ", ".join(f"entry entry {word}, entry {word}" for word in words)
    named = {"variables": "params", "params": "variables"}
    named |= {"batch": "x|targets", "data": "x|targets|batch"}
    options = {"may_be_nan": True, "known_as": named}
    yield Call(
        MODEL.log_likelihood,
        {"variables": VARIABLES, "batch": BATCH},
        {"variables": kept},
        **options,
    )
    yield Call(MODEL.log_joint, {"params": PARAMS, "data": BATCH}, {"params": kept}, **options)
    yield Call(
        MODEL.training_pass,
        {"variables": VARIABLES, "batch": BATCH, "key": KEY},
        {"variables": kept},
        **options,
    )
