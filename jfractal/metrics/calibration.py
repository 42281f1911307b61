"""Do the probabilities mean what they say: accuracy, proper scores, calibration error."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jfractal.errors import InputError
from jfractal.typing import Array, Float, Int, Scalar

__all__ = ["Reliability", "accuracy", "brier", "ece", "nll", "reliability"]


def accuracy(probs: Float[ArrayLike, "*batch classes"], labels: Int[ArrayLike, "*batch"]) -> Scalar:
    """Share of the examples whose most probable class is the label.

    Args:
        probs: class probabilities (or logits: only their order counts), ``*batch classes``.
        labels: true classes in ``[0, classes)``, ``*batch``.

    Returns:
        A fraction in [0, 1].

    Raises:
        InputError: the shapes do not match, or are empty.
    """
    probs, labels = _checked(probs, labels)
    return jnp.mean(jnp.argmax(probs, axis=-1) == labels)


def nll(log_probs: Float[ArrayLike, "*batch classes"], labels: Int[ArrayLike, "*batch"]) -> Scalar:
    """Mean negative log-likelihood of the labels, ``-mean_i log p_i[y_i]``.

    Args:
        log_probs: normalised log-probabilities (not logits), ``*batch classes``.
        labels: true classes in ``[0, classes)``, ``*batch``.

    Returns:
        Nats per example; infinite where a label was given probability zero.

    Raises:
        InputError: the shapes do not match, or are empty.
    """
    log_probs, labels = _checked(log_probs, labels)
    return -jnp.mean(jnp.take_along_axis(log_probs, labels[..., None], axis=-1))


def brier(probs: Float[ArrayLike, "*batch classes"], labels: Int[ArrayLike, "*batch"]) -> Scalar:
    """Mean squared distance to the one-hot label, ``mean_i Σ_c (p_ic - [y_i = c])²``.

    Args:
        probs: class probabilities, ``*batch classes``.
        labels: true classes in ``[0, classes)``, ``*batch``.

    Returns:
        A number in [0, 2] (Brier's original score, not halved for two classes).

    Raises:
        InputError: the shapes do not match, or are empty.

    References:
        Brier, *Verification of forecasts expressed in terms of probability*, 1950.
    """
    probs, labels = _checked(probs, labels)
    one_hot = jax.nn.one_hot(labels, probs.shape[-1], dtype=probs.dtype)
    return jnp.mean(jnp.sum(jnp.square(probs - one_hot), axis=-1))


class Reliability(NamedTuple):
    """A reliability diagram: what was claimed and what came true, bin by bin.

    Attributes:
        confidence: mean probability of the predicted class, ``bins``; 0 in an empty bin.
        accuracy: share of correct predictions, ``bins``; 0 in an empty bin.
        count: number of examples, ``bins``.
    """

    confidence: Float[Array, " bins"]
    accuracy: Float[Array, " bins"]
    count: Int[Array, " bins"]  # pyright: ignore[reportIncompatibleMethodOverride]


def reliability(
    probs: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    num_bins: int = 15,
) -> Reliability:
    """Confidence and accuracy in bins of equal width ``(k/num_bins, (k+1)/num_bins]``.

    A confidence on an edge belongs to the bin below it, so 1 is in the last bin; 0 is in the
    first.

    Args:
        probs: class probabilities, ``*batch classes``.
        labels: true classes in ``[0, classes)``, ``*batch``.
        num_bins: number of bins, static under `jax.jit`.

    Returns:
        The diagram; its counts sum to the number of examples.

    Raises:
        InputError: the shapes do not match or are empty, or `num_bins` is below 1.

    References:
        Guo et al., *On calibration of modern neural networks*, ICML 2017, section 2.
    """
    probs, labels = _checked(probs, labels)
    if num_bins < 1:
        raise InputError(f"`num_bins` must be at least 1, got {num_bins}")
    confidence = jnp.max(probs, axis=-1).ravel()
    correct = (jnp.argmax(probs, axis=-1) == labels).ravel()
    # NumPy rounds k/num_bins once, whereas XLA may multiply by a rounded 1/num_bins: only so
    # does a confidence that is written as k/num_bins meet its edge exactly.
    inner_edges = jnp.asarray(np.arange(1, num_bins) / num_bins, confidence.dtype)
    bins = jnp.searchsorted(inner_edges, confidence, side="left")

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


def ece(
    probs: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    num_bins: int = 15,
) -> Scalar:
    """Expected calibration error, ``Σ_k (n_k / n) |accuracy_k - confidence_k|``.

    Args:
        probs: class probabilities, ``*batch classes``.
        labels: true classes in ``[0, classes)``, ``*batch``.
        num_bins: number of bins of equal width, static under `jax.jit`; see `reliability`.

    Returns:
        A fraction in [0, 1].

    Raises:
        InputError: the shapes do not match or are empty, or `num_bins` is below 1.

    References:
        Guo et al., *On calibration of modern neural networks*, ICML 2017, eq. 3.
    """
    bins = reliability(probs, labels, num_bins=num_bins)
    weight = bins.count / jnp.sum(bins.count)
    return jnp.sum(weight * jnp.abs(bins.accuracy - bins.confidence))


def _checked(probs: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    probs, labels = jnp.asarray(probs), jnp.asarray(labels)
    if probs.ndim == 0 or probs.size == 0:
        raise InputError(
            "the class probabilities must have at least one example and one class, "
            f"got shape {probs.shape}"
        )
    if labels.shape != probs.shape[:-1]:
        raise InputError(
            f"`labels` must have shape {probs.shape[:-1]}, one class per example, "
            f"got {labels.shape}"
        )
    return probs, labels
