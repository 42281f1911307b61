"""Prediction sets that contain the label with a given probability."""

import math

import jax.numpy as jnp
from jax.typing import ArrayLike

from jfractal.arguments import check_number
from jfractal.metrics.inputs import labelled, probabilities
from jfractal.typing import Array, Bool, Float, Int, Scalar

__all__ = ["conformal_threshold", "prediction_sets"]


def conformal_threshold(
    probs: Float[ArrayLike, "batch classes"],
    labels: Int[ArrayLike, " batch"],
    *,
    alpha: float,
) -> Scalar:
    """The probability that a class needs to be in a prediction set (split conformal).

    It is the ``⌈(n + 1)(1 − α)⌉``-th largest probability of a true label on n held-out examples.
    The sets of new, exchangeable examples then contain their label with probability at least 1 − α.

    Args:
        probs: Predicted probabilities of held-out examples, which must not be used for anything
            else.
        labels: Labels of these examples.
        alpha: Fraction of sets that may miss their label, in (0, 1); static under `jax.jit`.

    Returns:
        A probability. If there are too few examples, it is 0, and every set contains all classes.

    Raises:
        InputError: If `alpha` is out of range, `probs` are not probabilities or `labels` not
            classes, or the shapes do not match.

    Source: Sadinle, Lei & Wasserman, "Least ambiguous set-valued classifiers with bounded error
        levels", JASA 2019; Papadopoulos et al., 2002.
    """
    check_number("between 0 and 1", lambda x: (x > 0) & (x < 1), alpha=alpha)
    probs, labels = labelled(probabilities, labels, "batch classes", probs=probs)
    of_label = jnp.sort(jnp.take_along_axis(probs, labels[:, None], axis=-1)[:, 0])
    rank = math.ceil((len(labels) + 1) * (1 - alpha))
    return of_label[-rank] if rank <= len(labels) else jnp.zeros((), of_label.dtype)


def prediction_sets(
    probs: Float[ArrayLike, "batch classes"], threshold: float | Scalar
) -> Bool[Array, "batch classes"]:
    """The sets of all classes that are at least as probable as `threshold`.

    Args:
        probs: Predicted probabilities.
        threshold: Result of `conformal_threshold`, in [0, 1].

    Returns:
        Whether each class is in the set of each example.

    Raises:
        InputError: If `probs` are not probabilities, or `threshold` is not in [0, 1].

    Example:
        >>> probs = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]])
        >>> prediction_sets(probs, 0.3).sum(-1).tolist()  # classes in each set
        [1, 2]
    """
    check_number("in [0, 1]", lambda x: (x >= 0) & (x <= 1), threshold=threshold)
    return probabilities("probs", probs, "batch classes") >= threshold
