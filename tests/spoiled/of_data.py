"""Spoiled calls of `jfractal.data` and of the files of `jfractal.reference`."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import jax
import numpy as np

from jfractal import data, reference
from tests.spoiled.calls import Call

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
IMAGES = RNG.integers(0, 256, (5, 6, 6, 3)).astype(np.uint8)
MOMENTS = np.array([0.4, 0.5, 0.6], np.float32)
LABELS = np.arange(12) % 3
NONFINITE = "negative, zero, doubled, huge, booleans, half precision, NaN, all NaN, inf, -inf"
TEXTS = ["One word.", "Two more words!"]


def calls() -> Iterator[Call]:
    yield from _images()
    yield from _sets()
    yield from _texts()
    yield from _files()


def _images() -> Iterator[Call]:
    some = "a row less, a column less"
    yield Call(data.channel_moments, {"images": IMAGES}, {"images": some})
    yield Call(
        data.standardise,
        {"images": IMAGES, "mean": MOMENTS, "std": MOMENTS},
        {
            "images": "a row less",
            "mean": "negative, zero, doubled, booleans, huge, half precision",
            "std": "doubled, huge, half precision",
        },
    )
    any_dtype = f"{some}, fractions, floats, booleans, NaN"
    yield Call(
        data.random_flip, {"key": KEY, "images": IMAGES}, {"images": any_dtype}, may_be_nan=True
    )
    yield Call(
        data.random_shift,
        {"key": KEY, "images": IMAGES, "pixels": 2, "mode": "reflect"},
        {"images": any_dtype, "pixels": "zero"},
        may_be_nan=True,
    )
    pixels = RNG.normal(size=(3, 6, 6, 3)).astype(np.float32)
    numbers = f"{some}, negative, zero, doubled, huge, booleans, half precision"
    yield Call(
        data.patch_whitening,
        {"images": pixels, "num_filters": 4, "epsilon": 0.1},
        {"images": numbers},
    )
    yield Call(
        data.whiten_patches,
        {"images": pixels, "filters": RNG.normal(size=(4, 4, 3, 2)).astype(np.float32)},
        {
            "images": f"a row less, {NONFINITE}",
            "filters": "a column less, negative, zero, doubled, huge, booleans, half precision",
        },
        may_be_nan=True,
    )
    yield Call(
        data.blundell_curve,
        {"key": KEY, "num_points": 5, "low": 0.0, "high": 0.5},
        {"low": "negative, zero"},
    )


def _sets() -> Iterator[Call]:
    digits = data.digits()
    yield Call(data.digits, {"size": 8, "channels": 1})
    for load in (data.load_images, data.load_regression, data.load_texts):
        names = {data.load_images: "digits", data.load_regression: "diabetes"}
        yield Call(load, {"name": names.get(load, "docstrings"), "strict": True})
    yield Call(data.load_mushrooms, {"strict": False})
    yield Call(
        data.split_validation,
        {"labels": LABELS, "num_validation": 3, "seed": 0},
        {"labels": "a row less, negative, too large", "seed": "zero"},
    )
    yield Call(
        data.subset,
        {"data": digits, "num_train": 20, "num_test": 10, "seed": 1},
        {"seed": "zero"},
    )
    yield Call(
        data.hold_out_classes,
        {"data": digits, "classes": [3, 5]},
        {"classes": "a part less, part zero"},
    )
    yield Call(data.standard_splits, {"num_rows": 20, "num_splits": 3})


def _texts() -> Iterator[Call]:
    yield Call(
        data.Vocabulary,
        {"words": ("one", "two")},
        {"words": "a part less, empty, part another word, part empty, a mapping"},
    )
    kept = "a part less, empty, part another word, part empty, a mapping"
    yield Call(data.Vocabulary.of, {"texts": TEXTS, "max_size": 5}, {"texts": kept})
    vocabulary = data.Vocabulary.of(TEXTS, max_size=5)
    yield Call(vocabulary.encode, {"texts": TEXTS, "length": 4}, {"texts": kept})


def _files() -> Iterator[Call]:
    if "JFRACTAL_DATA" in os.environ:
        yield Call(
            data.load_table,
            {"dataset_id": "cornell-movie-review-data/rotten_tomatoes", "split": "test"},
        )
    path = Path(mkdtemp()) / "probs.csv"
    path.write_text("0.5,0.5\n0.1,0.9\n")
    yield Call(reference.load_probs, {"path": path})
    yield Call(reference.load_probs, {"path": str(path)}, name="load_probs of a string")
