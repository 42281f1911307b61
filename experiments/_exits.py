"""Leaving a fractal net early, and the sets that its columns predict."""

from collections.abc import Iterable

import jax
import numpy as np

import jfractal as jf
from experiments import _routes as routes
from experiments._images import Examples
from jfractal import anytime
from jfractal.typing import Variables


def answer(
    model: jf.FractalModel,
    variables: Variables,
    split: Examples,
    examples: np.ndarray,
    threshold: float,
) -> anytime.EarlyExit:
    """What the columns of a trained net answer, each if it is sure enough."""
    return anytime.early_exit(
        model,
        jf.Point(variables),
        np.asarray(split.standardise(examples)),
        jax.random.key(0),
        threshold=threshold,
        batch_size=routes.BATCH,
    )


def prediction_of(left: anytime.EarlyExit) -> jf.Prediction:
    """The answers of those who left, as a prediction."""
    return jf.Prediction.single(np.log(np.maximum(left.probs, 1e-12)))


def spent(left: anytime.EarlyExit, columns: Iterable[int]) -> dict[str, float]:
    """The share of examples that left after each column, and operations an example."""
    shares = {f"share_{c}": float((left.column == c).mean()) for c in columns}
    return {**shares, "mflops": float(left.flops.mean()) / 1e6}


def coverage(inside: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The share of sets that hold their label, and the classes in a set."""
    covered = inside[np.arange(len(labels)), labels].mean()
    return {"coverage": float(covered), "classes": float(inside.sum(1).mean())}
