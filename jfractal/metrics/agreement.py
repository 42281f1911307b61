"""How close one posterior's predictions are to another's, above all to those of HMC."""

from typing import Protocol, TypeAlias, runtime_checkable

import jax.numpy as jnp
from jax.typing import ArrayLike

from jfractal.errors import InputError
from jfractal.typing import Array, Float, Scalar

__all__ = ["HasProbs", "Predictive", "agreement", "total_variation", "wasserstein"]


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
        InputError: the shapes differ, or are empty.

    References:
        Izmailov et al., *What are Bayesian neural network posteriors really like?*, ICML 2021.
    """
    p, q = _matched(p=_probs(p), q=_probs(q))
    return jnp.mean(jnp.argmax(p, axis=-1) == jnp.argmax(q, axis=-1))


def total_variation(p: Predictive, q: Predictive) -> Scalar:
    """Mean total variation distance of the predictives, ``mean_i ½ Σ_c |p_ic - q_ic|``.

    Args:
        p: class probabilities ``*batch classes``, or an object with them as ``.probs``.
        q: the same, for the same examples.

    Returns:
        A fraction in [0, 1].

    Raises:
        InputError: the shapes differ, or are empty.

    References:
        Izmailov et al., *What are Bayesian neural network posteriors really like?*, ICML 2021.
    """
    p, q = _matched(p=_probs(p), q=_probs(q))
    return jnp.mean(jnp.sum(jnp.abs(p - q), axis=-1)) / 2


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
        InputError: the shapes differ, or are empty.

    References:
        Peyré & Cuturi, *Computational optimal transport*, 2019 (the one-dimensional case).
    """
    x, y = _matched(x=x, y=y)
    return jnp.sqrt(jnp.mean(jnp.square(jnp.sort(x, axis=0) - jnp.sort(y, axis=0)), axis=0))


def _probs(prediction: Predictive) -> ArrayLike:
    return prediction.probs if isinstance(prediction, HasProbs) else prediction


def _matched(**pair: ArrayLike) -> tuple[Array, Array]:
    first, second = (jnp.asarray(value) for value in pair.values())
    if first.shape != second.shape or first.ndim == 0 or first.size == 0:
        names = " and ".join(f"`{name}`" for name in pair)
        raise InputError(
            f"{names} must have the same shape, with at least one axis and no empty one, "
            f"got {first.shape} and {second.shape}"
        )
    return first, second
