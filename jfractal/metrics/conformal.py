"""Prediction sets that hold the label with a given probability."""

import math

import jax.numpy as jnp
from jax.typing import ArrayLike

from jfractal.errors import InputError
from jfractal.metrics.calibration import checked
from jfractal.typing import Array, Bool, Float, Int, Scalar

__all__ = ["conformal_threshold", "prediction_sets"]


def conformal_threshold(
    probs: Float[ArrayLike, "batch classes"],
    labels: Int[ArrayLike, " batch"],
    *,
    alpha: float,
) -> Scalar:
    """The probability that a class needs to be in a prediction set (split conformal).

    The ``⌈(n + 1)(1 − α)⌉``-th largest probability of a true label on n held-out examples: then
    the sets of new, exchangeable examples hold their label with probability at least 1 − α.

    Args:
        probs: Predicted probabilities of held-out examples, not used for anything else.
        labels: Their labels.
        alpha: Share of sets that may miss their label, in (0, 1); static under `jax.jit`.

    Returns:
        A probability; 0, so that every set holds every class, if there are too few examples.

    Raises:
        InputError: If `alpha` is out of range, or the shapes do not match.

    Source: Sadinle, Lei & Wasserman, "Least ambiguous set-valued classifiers with bounded error
        levels", JASA 2019; Papadopoulos et al., 2002.
    """
    if not 0 < alpha < 1:
        raise InputError(f"`alpha` must be between 0 and 1, got {alpha}")
    probs, labels = checked(probs, labels)
    of_label = jnp.sort(jnp.take_along_axis(probs, labels[:, None], axis=-1)[:, 0])
    rank = math.ceil((len(labels) + 1) * (1 - alpha))
    return of_label[-rank] if rank <= len(labels) else jnp.zeros((), of_label.dtype)


def prediction_sets(
    probs: Float[ArrayLike, "batch classes"], threshold: float | Scalar
) -> Bool[Array, "batch classes"]:
    """Which classes are at least as probable as `threshold`."""
    return jnp.asarray(probs) >= threshold
