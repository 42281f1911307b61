"""How close one posterior's predictions are to another's, above all to those of HMC."""

from typing import Protocol, TypeAlias, runtime_checkable

import jax.numpy as jnp
from jax.typing import ArrayLike

from jfractal.errors import InputError
from jfractal.metrics.bootstrap import Estimate, bootstrap
from jfractal.metrics.calibration import accuracy, ece, nll
from jfractal.metrics.inputs import check_labels, matched, probabilities, real
from jfractal.typing import Array, Float, Int, KeyArray, Scalar

__all__ = [
    "HasProbs",
    "Predictive",
    "agreement",
    "ceiling",
    "compare",
    "symmetric_kl",
    "total_variation",
    "wasserstein",
]


@runtime_checkable
class HasProbs(Protocol):
    """Whatever carries class probabilities, such as the result of a Monte Carlo prediction."""

    @property
    def probs(self) -> Float[Array, "*batch classes"]:
        """Class probabilities, ``*batch classes``."""
        ...


Predictive: TypeAlias = Float[ArrayLike, "*batch classes"] | HasProbs
"""Class probabilities, or a prediction that carries them."""


def agreement(p: Predictive, q: Predictive) -> Scalar:
    """Share of the examples on which both predict the same class, ``mean_i [ŷ_i(p) = ŷ_i(q)]``.

    Args:
        p: class probabilities ``*batch classes``, or an object with them as ``.probs``.
        q: the same, for the same examples.

    Returns:
        A fraction in [0, 1].

    Raises:
        InputError: one does not hold probabilities, or the shapes differ.

    References:
        Izmailov et al., *What are Bayesian neural network posteriors really like?*, ICML 2021.
    """
    p, q = _matched(p=p, q=q)
    return jnp.mean(jnp.argmax(p, axis=-1) == jnp.argmax(q, axis=-1))


def total_variation(p: Predictive, q: Predictive) -> Scalar:
    """Mean total variation distance of the predictives, ``mean_i ½ Σ_c |p_ic - q_ic|``.

    Args:
        p: class probabilities ``*batch classes``, or an object with them as ``.probs``.
        q: the same, for the same examples.

    Returns:
        A fraction in [0, 1].

    Raises:
        InputError: one does not hold probabilities, or the shapes differ.

    References:
        Izmailov et al., *What are Bayesian neural network posteriors really like?*, ICML 2021.
    """
    p, q = _matched(p=p, q=q)
    return jnp.mean(jnp.sum(jnp.abs(p - q), axis=-1)) / 2


def symmetric_kl(p: Predictive, q: Predictive) -> Scalar:
    """Mean symmetric KL divergence, ``mean_i ½ (KL(p_i ‖ q_i) + KL(q_i ‖ p_i))``.

    ``½ Σ_c (p_ic - q_ic) (log p_ic - log q_ic)``, where no term is negative. A probability below
    the smallest normal number of its type, 1e-38 in float32, counts as that number: a net's zero
    is an underflow, and one of them shall not make the mean infinite. A zero from rounding, such
    as in a table of few digits, is worth up to 44 nats so: smooth such a table before.

    Args:
        p: class probabilities ``*batch classes``, or an object with them as ``.probs``.
        q: the same, for the same examples.

    Returns:
        Nats per example, at least 0 and finite.

    Raises:
        InputError: one does not hold probabilities, or the shapes differ.

    References:
        Kullback & Leibler, *On information and sufficiency*, 1951 (there without the half).
    """
    p, q = _matched(p=p, q=q)
    return jnp.mean(jnp.sum((p - q) * (_log(p) - _log(q)), axis=-1)) / 2


def wasserstein(
    x: Float[ArrayLike, " samples *batch"], y: Float[ArrayLike, " samples *batch"]
) -> Float[Array, "*batch"]:
    """2-Wasserstein distance of two samples on the line, ``√(1/S Σ_s (x_(s) - y_(s))²)``.

    In one dimension the optimal transport pairs the order statistics. Benchmarks exist that
    report the 1-Wasserstein distance, ``mean |x_(s) - y_(s)|``, as "W2": it is never larger.

    Args:
        x: draws from one predictive, ``samples *batch``.
        y: as many draws from the other.

    Returns:
        The distance at each point, ``*batch``, in units of the target.

    Raises:
        InputError: the shapes differ or are empty, or a number is not finite.

    References:
        Peyré & Cuturi, *Computational optimal transport*, 2019 (the one-dimensional case).
    """
    x, y = matched(real, "samples *batch", x=x, y=y)
    return jnp.sqrt(jnp.mean(jnp.square(jnp.sort(x, axis=0) - jnp.sort(y, axis=0)), axis=0))


def compare(
    p: Predictive,
    reference: Predictive,
    key: KeyArray,
    *,
    labels: Int[ArrayLike, "*batch"] | None = None,
    mass: float = 0.95,
    num_resamples: int = 1000,
) -> dict[str, Estimate]:
    """How far a prediction is from the reference's, each figure with its bootstrap interval.

    All figures are of the same resamples of the examples. For regression, where draws are
    compared: ``bootstrap(jnp.mean, (wasserstein(x, y),), key)``.

    Args:
        p: class probabilities ``*batch classes``, or an object with them as ``.probs``; the first
            axis is that of the examples.
        reference: the same, for the same examples, above all those of HMC.
        key: random key.
        labels: true classes in ``[0, classes)``, ``*batch``, if known.
        mass: share of the resamples inside the intervals, in (0, 1).
        num_resamples: their number, at least 1.

    Returns:
        ``agreement``, ``total_variation`` and ``symmetric_kl``; given labels, also
        ``accuracy_difference``, ``nll_difference`` (nats per example) and ``ece_difference``:
        the prediction's minus the reference's. Zero probabilities are treated as in
        `symmetric_kl`.

    Raises:
        InputError: one does not hold probabilities, the shapes differ, a label is not a class, or
            `mass` or `num_resamples` is out of range.

    References:
        Izmailov et al., *What are Bayesian neural network posteriors really like?*, ICML 2021.
    """
    p, reference = _matched(p=p, reference=reference)
    if labels is None:
        statistic, examples = _distances, (p, reference)
    else:
        statistic, examples = (
            _distances_and_scores,
            (
                p,
                reference,
                check_labels(labels, p.shape[:-1], p.shape[-1], "p"),
            ),
        )
    return bootstrap(statistic, examples, key, mass=mass, num_resamples=num_resamples)


def ceiling(
    chains: Float[ArrayLike, "chains examples classes"],
    key: KeyArray,
    *,
    mass: float = 0.95,
    num_resamples: int = 1000,
) -> dict[str, Estimate]:
    """How far each chain's prediction is from that of all others together, on average.

    A method no further from the mean of all chains than this is as good as one more chain.
    With Monte Carlo variance ``σ²`` of one chain's prediction, a further chain is
    ``σ² (1 + 1/C)`` from the mean of all C, one chain is ``σ² (1 + 1/(C - 1))`` from the mean of
    the rest, ``2 σ²`` from another one, and ``σ² (1 - 1/C)`` from a mean that it is part of: of
    the three that can be measured the first is the closest, and errs on the side of the method.

    Args:
        chains: each chain's class probabilities, the mean over its draws, ``chains examples
            classes``, at least 2 chains of equal length.
        key: random key.
        mass: share of the resamples inside the intervals, in (0, 1).
        num_resamples: their number, at least 1.

    Returns:
        ``agreement``, ``total_variation`` and ``symmetric_kl``, as from `compare`, the means over
        chains. The intervals are over examples, with the chains as they are.

    Raises:
        InputError: there are fewer than 2 chains, they do not hold probabilities, or `mass` or
            `num_resamples` is out of range.

    References:
        Izmailov et al., *What are Bayesian neural network posteriors really like?*, ICML 2021.
    """
    chains = probabilities("chains", chains, "chains examples classes")
    if len(chains) < 2:
        raise InputError(f"`chains` must hold at least 2 chains, got shape {chains.shape}")
    # The sum less one chain would be cheaper, and cancel where only that chain is sure.
    rest = [jnp.mean(jnp.delete(chains, i, axis=0), axis=0) for i in range(len(chains))]
    return compare(
        jnp.moveaxis(chains, 0, 1),
        jnp.stack(rest, axis=1),
        key,
        mass=mass,
        num_resamples=num_resamples,
    )


def _distances(p: Array, q: Array) -> dict[str, Array]:
    return {
        "agreement": agreement(p, q),
        "total_variation": total_variation(p, q),
        "symmetric_kl": symmetric_kl(p, q),
    }


def _distances_and_scores(p: Array, q: Array, labels: Array) -> dict[str, Array]:
    return _distances(p, q) | {
        "accuracy_difference": accuracy(p, labels) - accuracy(q, labels),
        "nll_difference": nll(_log(p), labels) - nll(_log(q), labels),
        "ece_difference": ece(p, labels) - ece(q, labels),
    }


def _log(probs: Array) -> Array:
    return jnp.log(jnp.maximum(probs, jnp.finfo(probs.dtype).tiny))


def _matched(**pair: Predictive) -> tuple[Array, ...]:
    probs = {name: x.probs if isinstance(x, HasProbs) else x for name, x in pair.items()}
    return matched(probabilities, "*batch classes", **probs)
