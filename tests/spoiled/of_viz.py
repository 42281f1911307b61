"""Spoiled calls of `jfractal.viz`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

import jfractal as jf
from jfractal import metrics, posterior, topology, viz
from jfractal.testing import Calibration
from tests.spoiled.calls import Call

RNG = np.random.default_rng(0)
X = np.linspace(0.0, 1.0, 5)
BAND = viz.Band(X, X - 2, X - 1, X + 1, X + 2)
CHAINS = RNG.normal(size=(2, 8))
PROBS = RNG.dirichlet(np.ones(3), 8).astype(np.float32)
EXPR = topology.fractal(2)
SHIFTED = "negative, zero, doubled, booleans, huge, half precision"
LABEL = "another word, empty"
COUNTS = "part floats, part booleans, part too large"


def calls() -> Iterator[Call]:
    yield Call(
        viz.curves,
        {"series": {"net": (X, X, X)}, "xlabel": "x", "ylabel": "y", "logy": False},
        {
            "series": f"entry a part less, {_entries(SHIFTED[10:].split(', '), 'part ')}",
            "xlabel": LABEL,
            "ylabel": LABEL,
        },
    )
    yield Call(
        viz.score_histograms,
        {"scores": {"in": CHAINS[0]}, "xlabel": "nats"},
        {"scores": f"{_entries(SHIFTED.split(', '))}, entry a row less", "xlabel": LABEL},
    )
    yield Call(
        viz.intervals,
        {"rows": {"net": (0.5, 0.1)}, "xlabel": "nats", "reference": 0.4},
        {
            "rows": "entry part zero, entry part a number, entry part huge, entry part a flag",
            "xlabel": LABEL,
            "reference": "negative, zero, huge",
        },
    )
    yield Call(
        viz.predictive_bands,
        {"x_grid": X, "methods": {"net": BAND}, "x_train": X, "y_train": X, "truth": X},
        {
            "x_grid": "doubled, half precision",
            "methods": "entry part doubled, entry part huge, entry part half precision",
            "x_train": SHIFTED,
            "y_train": SHIFTED,
            "truth": SHIFTED,
        },
    )
    for function in (viz.traces,):
        yield Call(
            function,
            {"draws": {"log joint": CHAINS}},
            {"draws": f"{_entries(SHIFTED.split(', '))}, entry a row less, entry a column less"},
        )
    yield Call(
        viz.ranks,
        {"draws": {"log joint": CHAINS}, "num_bins": 4},
        {"draws": f"{_entries(SHIFTED.split(', '))}, entry a row less, entry a column less"},
    )
    calibration = Calibration({"f": RNG.integers(0, 10, 40)}, 9)
    yield Call(viz.rank_histograms, {"calibrations": {"net": calibration}})
    reliability = metrics.reliability(PROBS, np.arange(8) % 3, num_bins=4)
    yield Call(
        viz.reliability_diagram,
        {"reliability": reliability, "title": "of a net"},
        {"title": LABEL} | {"reliability": COUNTS},
    )
    yield Call(
        viz.reliability_diagram,
        {"reliability": {"net": reliability}},
        {"reliability": _entries(COUNTS.split(", "))},
        name="reliability_diagram of several",
    )
    log_probs = np.log(PROBS)
    labels = PROBS.argmax(-1)
    prediction = jf.Prediction.of(np.stack([log_probs, log_probs[::-1]]))
    yield Call(
        viz.accuracy_coverage,
        {"predictions": {"net": prediction}, "labels": labels},
        {"predictions": "entry part*", "labels": "zero"},
    )
    images = RNG.uniform(size=(8, 2, 2))
    yield Call(
        viz.extremes,
        {"prediction": prediction, "images": images, "num_images": 2},
        {"prediction": "part*", "images": f"{SHIFTED}, a column less", "num_images": "huge"},
    )
    params = {"w": posterior.Gaussian(np.ones(3, np.float32), np.zeros(3, np.float32))}
    yield Call(
        viz.posterior_spread,
        {"posterior": jf.MeanField(params), "where": lambda path, mean: True},
        {"posterior": "part*"},
    )
    path = Path(mkdtemp()) / "net.svg"
    yield Call(
        viz.structure,
        {
            "architecture": EXPR,
            "path": path,
            "column": 1,
            "shades": {"column1_unit1": 2.0},
            "palette": ("#4477aa", "#cc6677"),
        },
        {
            "shades": "entry zero, entry a number, empty",
            "palette": "a part less",
            "path": "",
        },
    )
    flags = [[True] * size for size in topology.join_sizes(EXPR)]
    yield Call(viz.structure, {"architecture": EXPR, "alive": flags}, name="structure(alive)")


def _entries(labels: Iterable[str], part: str = "") -> str:
    return ", ".join(f"entry {part}{label}" for label in labels)
