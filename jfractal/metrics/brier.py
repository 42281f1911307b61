"""The Brier score and its decomposition."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jfractal.counts import check_counts
from jfractal.metrics.calibration import MOST_BINS, bin_indices
from jfractal.metrics.inputs import labelled, probabilities
from jfractal.typing import Array, Float, Int, Scalar

__all__ = ["BrierParts", "brier", "brier_decomposition"]


def brier(probs: Float[ArrayLike, "*batch classes"], labels: Int[ArrayLike, "*batch"]) -> Scalar:
    """Mean squared distance to the one-hot label, ``mean_i Σ_c (p_ic - [y_i = c])²``.

    Args:
        probs: Class probabilities, ``*batch classes``.
        labels: True classes in ``[0, classes)``, ``*batch``.

    Returns:
        A number in [0, 2] (Brier's original score, not halved for two classes).

    Raises:
        InputError: If `probs` are not probabilities or `labels` not classes, or shapes do not
            match.

    References:
        Brier, *Verification of forecasts expressed in terms of probability*, 1950.
    """
    probs, labels = labelled(probabilities, labels, probs=probs)
    one_hot = jax.nn.one_hot(labels, probs.shape[-1], dtype=probs.dtype)
    return jnp.mean(jnp.sum(jnp.square(probs - one_hot), axis=-1))


class BrierParts(NamedTuple):
    """The parts of a Brier score: ``reliability - resolution + uncertainty + within``.

    Attributes:
        reliability: Squared distance between forecast and frequency over bins; lower is better.
        resolution: Squared distance between bin and overall frequency; higher is better.
        uncertainty: Uncertainty of the labels, ``Σ_c f_c (1 - f_c)`` with their frequencies f.
        within: Spread of the forecasts within a bin, which vanishes with the width of the bins.
    """

    reliability: Scalar
    resolution: Scalar
    uncertainty: Scalar
    within: Scalar


def brier_decomposition(
    probs: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    num_bins: int = 15,
) -> BrierParts:
    """Decomposes the Brier score, class by class, in bins of equal width.

    Bin k holds n_ck forecasts p of class c, with the mean p̄_ck; f_ck is the frequency of the class
    among them. Then ``reliability = Σ_ck (n_ck/n) (p̄_ck - f_ck)²`` and
    ``resolution = Σ_ck (n_ck/n) (f_ck - f_c)²``.

    Args:
        probs: Class probabilities, ``*batch classes``.
        labels: True classes in ``[0, classes)``, ``*batch``.
        num_bins: Number of bins of each class, static under `jax.jit`.

    Returns:
        Four parts that add up to `brier`, exactly.

    Raises:
        InputError: As for `brier`, or `num_bins` is below 1.

    References:
        Murphy, *A new vector partition of the probability score*, 1973. Stephenson, Coelho &
        Jolliffe, *Two extra components in the Brier score decomposition*, 2008 (`within`).
    """
    probs, labels = labelled(probabilities, labels, probs=probs)
    check_counts(num_bins=num_bins, most=MOST_BINS)
    classes = probs.shape[-1]
    forecasts = probs.reshape(-1, classes).T
    events = jax.nn.one_hot(labels.ravel(), classes, dtype=probs.dtype).T

    def of_class(forecast: Array, event: Array) -> BrierParts:
        bins = bin_indices(forecast, num_bins, "equal_width")
        inside = bins[None] == jnp.arange(num_bins)[:, None]
        count = jnp.maximum(jnp.sum(inside, axis=1), 1)
        # Per example: the mean forecast and the frequency of its bin.
        mean, frequency = (
            (jnp.sum(x[None], axis=1, where=inside) / count)[bins] for x in (forecast, event)
        )
        base = jnp.mean(event)
        return BrierParts(
            reliability=jnp.mean(jnp.square(mean - frequency)),
            resolution=jnp.mean(jnp.square(frequency - base)),
            uncertainty=base * (1 - base),
            within=jnp.mean((forecast - mean) * (forecast + mean - 2 * event)),
        )

    parts = jax.vmap(of_class)(forecasts, events)
    return BrierParts(*(jnp.sum(part) for part in parts))
