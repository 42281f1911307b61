"""Spoiled calls of `jfractal.predict` and `jfractal.predictions`."""

from collections.abc import Iterator
from dataclasses import replace

import jax
import numpy as np
from jax.sharding import Mesh

import jfractal as jf
from jfractal.predictions import BinaryPrediction, Prediction, RegressionPrediction, mixture
from tests.spoiled.calls import Call
from tests.spoiled.problem import KEY, MODEL, NET, PARAMS, SHIFTED, X, Y

RNG = np.random.default_rng(0)
LOG_PROBS = np.log(RNG.dirichlet(np.ones(3), (2, 8))).astype(np.float32)
ODDS = RNG.normal(size=(2, 8)).astype(np.float32)
SCALES = np.ones((2, 8), np.float32)
SHARES = np.log(np.array([0.25, 0.75], np.float32))
EXTREME = "inf, -inf, a number, a scalar"
DRAWS = {"log_probs": "log_weights", "log_odds": "log_weights|parameters"}
KEPT = "half precision, a row less, a column less, an axis more"


def calls() -> Iterator[Call]:
    posterior = jf.MeanField(jf.mean_field(PARAMS))
    asked = {"posterior": posterior, "x": X, "key": KEY, "num_samples": 2, "batch_size": 4}
    asked |= {"samples_per_pass": 1, "mesh": Mesh(jax.devices()[:1], ("data",))}
    kept = {
        "x": f"{SHIFTED}, NaN, all NaN, inf, -inf, a row less",
        "batch_size": "None, huge",
        "samples_per_pass": "None, huge",
        "mesh": "None",
    }
    # Unlike those of training, inputs may be NaN: predictions then are.
    yield Call(
        jf.predict,
        {"model": MODEL, "keep_samples": True, **asked},
        kept,
        may_be_nan=True,
        known_as={"x": "outputs", "model": "outputs"},
    )
    kept["x"] += ", an axis more"
    kept["apply"] = "a function"
    yield Call(jf.sample_outputs, {"apply": NET.apply, **asked}, kept, may_be_nan=True)
    yield from _mixtures()


def _mixtures() -> Iterator[Call]:
    classes = Prediction.of(LOG_PROBS, log_weights=SHARES)
    truths = BinaryPrediction.of(ODDS, log_weights=SHARES)
    numbers = RegressionPrediction.of(ODDS, SCALES, log_weights=SHARES)
    shares = "half precision"
    yield Call(
        lambda log_probs, log_weights: Prediction.of(log_probs, log_weights=log_weights),
        {"log_probs": LOG_PROBS, "log_weights": SHARES},
        {"log_probs": "half precision, a column less", "log_weights": f"None, {shares}"},
        name="Prediction.of",
        known_as=DRAWS,
    )
    yield Call(Prediction.single, {"log_probs": LOG_PROBS[0]}, {"log_probs": KEPT})
    yield Call(
        lambda log_odds, log_weights: BinaryPrediction.of(log_odds, log_weights=log_weights),
        {"log_odds": ODDS, "log_weights": SHARES},
        {"log_odds": f"{SHIFTED}, {KEPT}, inf, -inf", "log_weights": f"None, {shares}"},
        name="BinaryPrediction.of",
        known_as=DRAWS,
    )
    yield Call(
        BinaryPrediction.single,
        {"log_odds": ODDS[0]},
        {"log_odds": f"{SHIFTED}, {KEPT}, {EXTREME}"},
    )
    yield Call(
        RegressionPrediction.single,
        {"mean": ODDS[0], "scale": SCALES[0]},
        {"mean": SHIFTED, "scale": "doubled, half precision, zero, huge, booleans"},
    )
    for prediction, name, target, kept in (
        (classes, "labels", Y, ""),
        (truths, "y", np.arange(8) % 2, "floats, booleans"),
        (numbers, "y", ODDS[0], SHIFTED),
    ):
        kind = type(prediction).__name__
        score = getattr(prediction, "joint_log_prob", None) or prediction.log_prob
        yield Call(score, {name: target}, {name: kept}, name=f"{kind}.{score.__name__}")
        yield Call(prediction.credible_interval, {"mass": 0.9}, name=f"{kind}.credible_interval")
        yield Call(
            replace(prediction.draws).mixed,
            {"log_weights": SHARES},
            {"log_weights": f"None, {shares}"},
            name=f"{kind}.mixed",
        )
    yield Call(
        numbers.in_original_units,
        {"target_mean": 1.0, "target_scale": 2.0},
        {"target_mean": "negative, zero, huge, a number, a flag", "target_scale": "a flag"},
    )
    yield Call(
        mixture,
        {"predictions": [classes, classes], "log_weights": SHARES},
        {"log_weights": f"None, {shares}"},
    )
