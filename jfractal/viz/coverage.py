"""Accuracy against coverage: what is gained by leaving out what a prediction is unsure of."""

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
    """Draws the accuracy on the most certain examples against their share of all.

    Certain is what has a small entropy. The height at a share of 1 is the accuracy on all.

    Args:
        predictions: A prediction of classes, or several by name, a line each.
        labels: The true classes, "batch".

    Returns:
        The figure.

    Raises:
        InputError: If there is no prediction, or `labels` are not classes of all of them.

    References:
        El-Yaniv & Wiener, "On the foundations of noise-free selective classification", JMLR 2010.
    """
    alone = isinstance(predictions, Prediction)
    lines = {"": predictions} if alone else named("predictions", predictions, "predictions")
    drawn = {name: _accuracies(prediction, labels) for name, prediction in lines.items()}
    coverage = {name: np.arange(1, len(y) + 1) / len(y) for name, y in drawn.items()}
    return curves(
        {name: (coverage[name], drawn[name]) for name in drawn},
        xlabel="share of examples answered, the most certain first",
        ylabel="accuracy on these",
    )


def _accuracies(prediction: Prediction, labels: ArrayLike) -> np.ndarray:
    check_type("predictions", prediction, Prediction, "a `jf.Prediction`, or several by name")
    probs, labels = labelled(probabilities, labels, probs=prediction.probs)
    correct = probs.argmax(-1) == labels
    return 1.0 - np.asarray(metrics.risk_coverage(prediction.entropy, correct))
