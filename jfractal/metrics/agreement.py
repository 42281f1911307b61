"""How close one posterior's predictions are to another's, in particular to those of HMC."""

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
    """An object with class probabilities, such as the result of a Monte Carlo prediction."""

    @property
    def probs(self) -> Float[Array, "*batch classes"]:
        """Class probabilities, ``*batch classes``."""
        ...


Predictive: TypeAlias = Float[ArrayLike, "*batch classes"] | HasProbs
"""Class probabilities, or a prediction that holds them."""


def agreement(p: Predictive, q: Predictive) -> Scalar:
    """Fraction of examples on which both predict the same class, ``mean_i [ŷ_i(p) = ŷ_i(q)]``.

    Args:
        p: Class probabilities ``*batch classes``, or an object with them as ``.probs``.
        q: Class probabilities for the same examples, in the same form.

    Returns:
        A fraction in [0, 1].

    Raises:
        InputError: If an argument does not hold probabilities, or the shapes differ.

    References:
        Izmailov et al., *What are Bayesian neural network posteriors really like?*, ICML 2021.
    """
    p, q = _matched(p=p, q=q)
    return jnp.mean(jnp.argmax(p, axis=-1) == jnp.argmax(q, axis=-1))


def total_variation(p: Predictive, q: Predictive) -> Scalar:
    """Mean total variation distance of the predictives, ``mean_i ½ Σ_c |p_ic - q_ic|``.

    Args:
        p: Class probabilities ``*batch classes``, or an object with them as ``.probs``.
        q: Class probabilities for the same examples, in the same form.

    Returns:
        A fraction in [0, 1].

    Raises:
        InputError: If an argument does not hold probabilities, or the shapes differ.

    References:
        Izmailov et al., *What are Bayesian neural network posteriors really like?*, ICML 2021.
    """
    p, q = _matched(p=p, q=q)
    return jnp.mean(jnp.sum(jnp.abs(p - q), axis=-1)) / 2


def symmetric_kl(p: Predictive, q: Predictive) -> Scalar:
    """Mean symmetric KL divergence, ``mean_i ½ (KL(p_i ‖ q_i) + KL(q_i ‖ p_i))``.

    ``½ Σ_c (p_ic - q_ic) (log p_ic - log q_ic)``, where no term is negative. A probability below
    the smallest normal number of its type, 1e-38 in float32, counts as that number, because a zero
    from a net is an underflow and should not make the mean infinite. A zero from rounding, as in a
    table with few digits, then costs up to 44 nats; smooth such a table first.

    Args:
        p: Class probabilities ``*batch classes``, or an object with them as ``.probs``.
        q: Class probabilities for the same examples, in the same form.

    Returns:
        Nats per example, at least 0 and finite.

    Raises:
        InputError: If an argument does not hold probabilities, or the shapes differ.

    References:
        Kullback & Leibler, *On information and sufficiency*, 1951 (without the factor ½).
    """
    p, q = _matched(p=p, q=q)
    return jnp.mean(jnp.sum((p - q) * (_log(p) - _log(q)), axis=-1)) / 2


def wasserstein(
    x: Float[ArrayLike, " samples *batch"], y: Float[ArrayLike, " samples *batch"]
) -> Float[Array, "*batch"]:
    """2-Wasserstein distance of two samples on the line, ``√(1/S Σ_s (x_(s) - y_(s))²)``.

    In one dimension, the optimal transport pairs the order statistics. Some benchmarks report the
    1-Wasserstein distance, ``mean |x_(s) - y_(s)|``, as "W2"; it is never larger.

    Args:
        x: Draws from one predictive, ``samples *batch``.
        y: The same number of draws from the other predictive.

    Returns:
        The distance at each point, ``*batch``, in units of the target.

    Raises:
        InputError: If the shapes differ or are empty, or a number is not finite.

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
    """How far a prediction is from a reference, with bootstrap intervals.

    All figures use the same resamples of the examples. For regression, compare draws instead:
    ``bootstrap(jnp.mean, (wasserstein(x, y),), key)``.

    Args:
        p: Class probabilities ``*batch classes``, or an object with them as ``.probs``; the first
            axis is that of the examples.
        reference: Class probabilities for the same examples in the same form, e.g. those of HMC.
        key: Random key.
        labels: True classes in ``[0, classes)``, ``*batch``, if known.
        mass: Fraction of the resamples inside the intervals, in (0, 1).
        num_resamples: Number of resamples, at least 1.

    Returns:
        ``agreement``, ``total_variation`` and ``symmetric_kl``. With labels, also
        ``accuracy_difference``, ``nll_difference`` (nats per example) and ``ece_difference``: the
        score of the prediction minus that of the reference. Zero probabilities are treated as in
        `symmetric_kl`.

    Raises:
        InputError: If an argument does not hold probabilities, the shapes differ, a label is not a
            class, or `mass` or `num_resamples` is out of range.

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
    """How far each chain's prediction is from that of all other chains, on average.

    A method that is at most this far from the mean of all chains is as good as one more chain. Let
    ``σ²`` be the Monte Carlo variance of one chain's prediction. The expected squared distance of a
    new chain from the mean of all C chains is ``σ² (1 + 1/C)``. Three distances can be measured:
    that of a chain from the mean of the others, ``σ² (1 + 1/(C - 1))``; from another chain,
    ``2 σ²``; and from the mean of all, itself included, ``σ² (1 - 1/C)``. This function uses the
    first, which is the closest and errs in favour of the method.

    Args:
        chains: Class probabilities of each chain, the mean over its draws, ``chains examples
            classes``, at least 2 chains of equal length.
        key: Random key.
        mass: Fraction of the resamples inside the intervals, in (0, 1).
        num_resamples: Number of resamples, at least 1.

    Returns:
        ``agreement``, ``total_variation`` and ``symmetric_kl`` as from `compare`, averaged over
        chains. The intervals come from resampling examples, not chains.

    Raises:
        InputError: If there are fewer than 2 chains, they do not hold probabilities, or `mass` or
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
