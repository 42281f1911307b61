"""Accuracy against coverage: the accuracy gained by leaving out uncertain examples."""

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure

from jfractal import metrics
from jfractal.arguments import check_type
from jfractal.metrics.inputs import labelled, probabilities
from jfractal.predictions import Prediction
from jfractal.typing import Int
from jfractal.viz.curves import curves
from jfractal.viz.series import named

__all__ = ["accuracy_coverage"]


def accuracy_coverage(
    predictions: Prediction | Mapping[str, Prediction], labels: Int[ArrayLike, " batch"]
) -> Figure:
    """Draws the accuracy on the most certain examples against their share of all examples.

    The most certain examples are those with the smallest entropy. The value at a share of 1 is the
    accuracy on all examples.

    Args:
        predictions: A prediction of classes, or several by name, with one line each.
        labels: The true classes, "batch".

    Returns:
        The figure.

    Raises:
        InputError: If there is no prediction, or `labels` do not fit all predictions.

    References:
        El-Yaniv & Wiener, "On the foundations of noise-free selective classification", JMLR 2010.
    """
    alone = isinstance(predictions, Prediction)
    lines = {"": predictions} if alone else named("predictions", predictions, "predictions")
    return curves(
        {name: _line(prediction, labels) for name, prediction in lines.items()},
        xlabel="share of examples answered, the most certain first",
        ylabel="accuracy on these",
    )


def _line(prediction: Prediction, labels: ArrayLike) -> tuple[list[float], list[float]]:
    """Shares of the examples, and the accuracy on each."""
    check_type("predictions", prediction, Prediction, "a `jf.Prediction`, or several by name")
    probs, labels = labelled(probabilities, labels, probs=prediction.probs)
    correct = probs.argmax(-1) == labels
    risk = np.asarray(metrics.risk_coverage(prediction.entropy, correct))
    return (np.arange(1, len(risk) + 1) / len(risk)).tolist(), (1.0 - risk).tolist()
