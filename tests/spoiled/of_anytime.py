"""Spoiled calls of `jfractal.anytime`."""

from collections.abc import Iterator

import numpy as np

import jfractal as jf
from jfractal import anytime
from tests.spoiled.calls import Call
from tests.spoiled.problem import KEY, MODEL, SHIFTED, X

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
    yield Call(
        anytime.risk_controlled_threshold,
        {"held_out": PROBS, "held_out_labels": LABELS, "risk": 0.4, "delta": 0.3},
        {"held_out": f"{kept}, a part less"},
    )
    net = jf.FractalNet(3, columns=2, widths=(4,), unit=jf.nn.DenseUnit, norm="none")
    model = jf.fractal_model(net, prior=MODEL.prior, likelihood=MODEL.likelihood)
    posterior = jf.Point(net.init(KEY, X))
    yield Call(
        anytime.early_exit,
        {"model": model, "posterior": posterior, "x": X, "key": KEY}
        | {"threshold": 0.5, "num_samples": 2, "batch_size": 4},
        {
            "x": f"{SHIFTED}, NaN, all NaN, inf, -inf, a row less, an axis more",
            "threshold": "zero, inf, huge",
            "batch_size": "None, huge",
        },
        may_be_nan=True,
    )
