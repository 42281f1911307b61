"""Scores of class probabilities: accuracy, likelihood, calibration error."""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jfractal.arguments import check_choice
from jfractal.counts import check_counts
from jfractal.metrics.inputs import labelled, log_probabilities, probabilities, scores
from jfractal.typing import Array, Float, Int, Scalar

__all__ = [
    "Binning",
    "Reliability",
    "accuracy",
    "bin_indices",
    "ece",
    "mce",
    "nll",
    "reliability",
]

Binning = Literal["equal_width", "equal_mass"]
"""Bins of confidence: ``(k/num_bins, (k+1)/num_bins]``, or between quantiles of the data."""

MOST_BINS = 100_000


def accuracy(probs: Float[ArrayLike, "*batch classes"], labels: Int[ArrayLike, "*batch"]) -> Scalar:
    """Fraction of examples whose most probable class is the label.

    Args:
        probs: Class probabilities, ``*batch classes``; logits will do, as only the order counts.
        labels: True classes in ``[0, classes)``, ``*batch``.

    Returns:
        A fraction in [0, 1].

    Raises:
        InputError: If `probs` holds a NaN, `labels` are not classes, or shapes do not match.
    """
    probs, labels = labelled(scores, labels, probs=probs)
    return jnp.mean(jnp.argmax(probs, axis=-1) == labels)


def nll(log_probs: Float[ArrayLike, "*batch classes"], labels: Int[ArrayLike, "*batch"]) -> Scalar:
    """Mean negative log-likelihood of the labels, ``-mean_i log p_i[y_i]``.

    Args:
        log_probs: Normalised log-probabilities (not logits), ``*batch classes``.
        labels: True classes in ``[0, classes)``, ``*batch``.

    Returns:
        Nats per example; infinite if a label has probability zero.

    Raises:
        InputError: If `log_probs` are not log-probabilities or `labels` not classes, or shapes do
            not match.
    """
    log_probs, labels = labelled(log_probabilities, labels, log_probs=log_probs)
    return -jnp.mean(jnp.take_along_axis(log_probs, labels[..., None], axis=-1))


class Reliability(NamedTuple):
    """A reliability diagram: confidence and accuracy, bin by bin.

    Attributes:
        confidence: Mean probability of the predicted class, ``bins``; 0 in an empty bin.
        accuracy: Fraction of correct predictions, ``bins``; 0 in an empty bin.
        count: Number of examples, ``bins``.
    """

    confidence: Float[Array, " bins"]
    accuracy: Float[Array, " bins"]
    count: Int[Array, " bins"]  # pyright: ignore[reportIncompatibleMethodOverride]


def reliability(
    probs: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    num_bins: int = 15,
    binning: Binning = "equal_width",
) -> Reliability:
    """Confidence and accuracy in bins of confidence.

    A confidence on an edge belongs to the bin below it, so 1 is in the last bin; 0 is in the first.
    Equal confidences always share a bin, so that results do not depend on the order of the
    examples. With ties, bins of "equal mass" are therefore only nearly equal.

    Args:
        probs: Class probabilities, ``*batch classes``.
        labels: True classes in ``[0, classes)``, ``*batch``.
        num_bins: Number of bins, static under `jax.jit`.
        binning: ``equal_width``, or ``equal_mass`` for the same number of examples in every bin as
            far as possible; static under `jax.jit`.

    Returns:
        The diagram; its counts sum to the number of examples.

    Raises:
        InputError: If `probs` are not probabilities or `labels` not classes, shapes do not match,
            or `num_bins` or `binning` is not allowed.

    References:
        Guo et al., *On calibration of modern neural networks*, ICML 2017, section 2. Nixon et
        al., *Measuring calibration in deep learning*, 2019 (equal mass).
    """
    probs, labels = labelled(probabilities, labels, probs=probs)
    check_counts(num_bins=num_bins, most=MOST_BINS)
    check_choice("binning", binning, get_args(Binning))
    confidence = jnp.max(probs, axis=-1).ravel()
    correct = (jnp.argmax(probs, axis=-1) == labels).ravel()
    bins = bin_indices(confidence, num_bins, binning)

    # A masked sum per bin, because a float32 scatter-add is 0.7 % off on a million examples.
    def summarise(k: Array) -> Reliability:
        inside = bins == k
        count = jnp.sum(inside)
        size = jnp.maximum(count, 1)
        return Reliability(
            confidence=jnp.sum(confidence, where=inside) / size,
            accuracy=jnp.sum(correct, where=inside) / size,
            count=count,
        )

    return jax.vmap(summarise)(jnp.arange(num_bins))


def bin_indices(
    confidence: Float[Array, " n"], num_bins: int, binning: Binning
) -> Int[Array, " n"]:
    """The bin of each confidence, see `reliability`."""
    k = np.arange(1, num_bins)
    if binning == "equal_width":
        # NumPy rounds k/num_bins once, whereas XLA may multiply by a rounded 1/num_bins: only
        # so does a confidence that is written as k/num_bins meet its edge exactly.
        inner_edges = jnp.asarray(k / num_bins, confidence.dtype)
    else:
        inner_edges = jnp.sort(confidence)[-(-k * confidence.size // num_bins) - 1]
    return jnp.searchsorted(inner_edges, confidence, side="left")


def ece(
    probs: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    num_bins: int = 15,
    binning: Binning = "equal_width",
) -> Scalar:
    """Expected calibration error, ``Σ_k (n_k / n) |accuracy_k - confidence_k|``.

    Args:
        probs: Class probabilities, ``*batch classes``.
        labels: True classes in ``[0, classes)``, ``*batch``.
        num_bins: Number of bins, static under `jax.jit`; see `reliability`.
        binning: Equal width or equal mass, static under `jax.jit`; see `reliability`.

    Returns:
        A fraction in [0, 1].

    Raises:
        InputError: As for `reliability`.

    References:
        Guo et al., *On calibration of modern neural networks*, ICML 2017, eq. 3.
    """
    bins = reliability(probs, labels, num_bins=num_bins, binning=binning)
    weight = bins.count / jnp.sum(bins.count)
    return jnp.sum(weight * jnp.abs(bins.accuracy - bins.confidence))


def mce(
    probs: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    num_bins: int = 15,
    binning: Binning = "equal_width",
) -> Scalar:
    """Maximum calibration error, ``max_k |accuracy_k - confidence_k|`` over bins with examples.

    A bin with a single example counts as much as any other, so prefer ``equal_mass``.

    Args:
        probs: Class probabilities, ``*batch classes``.
        labels: True classes in ``[0, classes)``, ``*batch``.
        num_bins: Number of bins, static under `jax.jit`; see `reliability`.
        binning: Equal width or equal mass, static under `jax.jit`; see `reliability`.

    Returns:
        A fraction in [0, 1].

    Raises:
        InputError: As for `reliability`.

    References:
        Guo et al., *On calibration of modern neural networks*, ICML 2017, eq. 4.
    """
    bins = reliability(probs, labels, num_bins=num_bins, binning=binning)
    return jnp.max(jnp.abs(bins.accuracy - bins.confidence))
