"""Selective prediction: how accurate a classifier is on the examples that it is most certain of.

An uncertainty is any number that should be higher for an example that is classified wrongly, such
as `total_entropy` or one minus the confidence.
"""

import math

import jax.numpy as jnp
from jax.typing import ArrayLike

from jfractal.arguments import check_number
from jfractal.metrics.inputs import scores, truths
from jfractal.typing import Array, Bool, Float, Scalar

__all__ = ["aurc", "risk_coverage", "selective_accuracy"]


def risk_coverage(
    uncertainty: Float[ArrayLike, " batch"], correct: Bool[ArrayLike, " batch"]
) -> Float[Array, " batch"]:
    """The error rate among the k most certain examples, for every k from 1 to the batch size.

    Examples with equal uncertainty have no order: each counts as the mean of them.

    Args:
        uncertainty: Uncertainty of each example, ``batch``.
        correct: Whether the prediction for each example is right, ``batch``.

    Returns:
        Fractions in [0, 1], ``batch``: entry k - 1 is the risk at coverage k / batch. Under
        `jax.jit`, NaN if an uncertainty is NaN.

    Raises:
        InputError: If the arguments are not two vectors of equal length, or an uncertainty is NaN.

    References:
        El-Yaniv & Wiener, *On the foundations of noise-free selective classification*, JMLR 2010.
    """
    uncertainty = scores("uncertainty", uncertainty)
    correct = truths("correct", correct, uncertainty.shape, "uncertainty")
    order = jnp.argsort(uncertainty)
    ordered = uncertainty[order]
    errors = jnp.concatenate([jnp.zeros(1, int), jnp.cumsum(~correct[order])])
    first = jnp.searchsorted(ordered, ordered, side="left")
    last = jnp.searchsorted(ordered, ordered, side="right")
    k = jnp.arange(1, ordered.size + 1)
    # Within a tie, errors accumulate evenly: their expectation over its orders.
    expected = errors[first] + (errors[last] - errors[first]) * (k - first) / (last - first)
    return jnp.where(jnp.isnan(uncertainty).any(), jnp.nan, expected / k)


def aurc(uncertainty: Float[ArrayLike, " batch"], correct: Bool[ArrayLike, " batch"]) -> Scalar:
    """Area under the risk-coverage curve, the mean of `risk_coverage` over all coverages.

    Args:
        uncertainty: Uncertainty of each example, ``batch``.
        correct: Whether the prediction for each example is right, ``batch``.

    Returns:
        A fraction in [0, 1]; lower is better. A random order gives the error rate.

    Raises:
        InputError: As for `risk_coverage`.

    References:
        Geifman, Uziel & El-Yaniv, *Bias-reduced uncertainty estimation for deep neural
        classifiers*, ICLR 2019.
    """
    return jnp.mean(risk_coverage(uncertainty, correct))


def selective_accuracy(
    uncertainty: Float[ArrayLike, " batch"], correct: Bool[ArrayLike, " batch"], *, coverage: float
) -> Scalar:
    """Accuracy on the most certain examples, if the classifier abstains on all others.

    Args:
        uncertainty: Uncertainty of each example, ``batch``.
        correct: Whether the prediction for each example is right, ``batch``.
        coverage: Fraction of the examples to predict, in (0, 1], rounded up to a whole number of
            examples; static under `jax.jit`.

    Returns:
        A fraction in [0, 1].

    Raises:
        InputError: If `coverage` is out of range, or as for `risk_coverage`.

    References:
        Geifman & El-Yaniv, *Selective classification for deep neural networks*, NeurIPS 2017.
    """
    check_number("in (0, 1]", lambda x: (x > 0) & (x <= 1), coverage=coverage)
    risk = risk_coverage(uncertainty, correct)
    # 0.07 · 100 is above 7 in floating point.
    answered = math.ceil(round(coverage * risk.size, 9))
    return 1 - risk[answered - 1]
