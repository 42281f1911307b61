"""The uncertainty of a Monte Carlo prediction: noise in the data, and doubt about the weights.

All functions take one prediction per draw of the weights, with the draws on the leading axis
``samples``, and treat the prediction as their mixture. Shares are equal unless they are given.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.metrics.inputs import check_labels, log_probabilities, log_shares, mixture, real
from jfractal.typing import Array, Float, Int, Scalar

__all__ = [
    "MixtureMoments",
    "aleatoric_entropy",
    "epistemic_entropy",
    "gaussian_mixture_log_prob",
    "joint_log_prob",
    "mean_log_probs",
    "mixture_moments",
    "total_entropy",
]


def mean_log_probs(
    log_probs: Float[ArrayLike, "samples *batch classes"],
    log_weights: Float[ArrayLike, " samples"] | None = None,
) -> Float[Array, "*batch classes"]:
    """Log of the mean probability, ``log Σ_s w_s p_s``, computed in log space.

    Args:
        log_probs: Normalised log-probabilities of each draw, ``samples *batch classes``.
        log_weights: Log of each draw's share of the mixture, ``samples``; all equal by default.

    Returns:
        Normalised log-probabilities of the mixture, ``*batch classes``.

    Raises:
        InputError: If `log_probs` or `log_weights` are not log-probabilities, or shapes do not
            match.
    """
    return _log_sum_exp(*_checked(log_probs, log_weights))


def joint_log_prob(
    log_probs: Float[ArrayLike, "samples *batch classes"],
    labels: Int[ArrayLike, "*batch"],
    log_weights: Float[ArrayLike, " samples"] | None = None,
) -> Scalar:
    """Log-probability of all labels at once, ``log Σ_s w_s Π_i p_s(y_i | x_i)``.

    Unlike the sum of the marginal log-probabilities, it depends on whether draws agree on how
    labels are correlated, or only doubt each label separately. A draw must be one function over the
    batch. The estimate from few draws is too low, and more so for larger batches.

    Args:
        log_probs: Normalised log-probabilities of each draw, ``samples *batch classes``.
        labels: True classes in ``[0, classes)``, ``*batch``.
        log_weights: Log of each draw's share of the mixture, ``samples``; all equal by default.

    Returns:
        Nats, for the batch as a whole; divide by its size to compare batches of different size.

    Raises:
        InputError: If `log_probs` are not log-probabilities or `labels` not classes, or shapes do
            not match.

    References:
        Osband et al., *The neural testbed: evaluating joint predictions*, NeurIPS 2022.
    """
    log_probs, log_weights = _checked(log_probs, log_weights)
    labels = check_labels(labels, log_probs.shape[1:-1], log_probs.shape[-1], "log_probs")
    of_label = jnp.take_along_axis(log_probs, labels[None, ..., None], axis=-1)
    return _log_sum_exp(jnp.sum(of_label, axis=range(1, of_label.ndim)), log_weights)


def total_entropy(
    log_probs: Float[ArrayLike, "samples *batch classes"],
    log_weights: Float[ArrayLike, " samples"] | None = None,
) -> Float[Array, "*batch"]:
    """Entropy of the mixture, ``H[E_s p_s]``: the total uncertainty.

    Args:
        log_probs: Normalised log-probabilities of each draw, ``samples *batch classes``.
        log_weights: Log of each draw's share of the mixture, ``samples``; all equal by default.

    Returns:
        Nats per example in [0, log classes], ``*batch``.

    Raises:
        InputError: If `log_probs` or `log_weights` are not log-probabilities, or shapes do not
            match.
    """
    return _entropy(mean_log_probs(log_probs, log_weights))


def aleatoric_entropy(
    log_probs: Float[ArrayLike, "samples *batch classes"],
    log_weights: Float[ArrayLike, " samples"] | None = None,
) -> Float[Array, "*batch"]:
    """Expected entropy, ``E_s H[p_s]``: the uncertainty that would remain if weights were known.

    Args:
        log_probs: Normalised log-probabilities of each draw, ``samples *batch classes``.
        log_weights: Log of each draw's share of the mixture, ``samples``; all equal by default.

    Returns:
        Nats per example in [0, log classes], ``*batch``.

    Raises:
        InputError: If `log_probs` or `log_weights` are not log-probabilities, or shapes do not
            match.
    """
    log_probs, log_weights = _checked(log_probs, log_weights)
    return jnp.average(_entropy(log_probs), axis=0, weights=jnp.exp(log_weights))


def epistemic_entropy(
    log_probs: Float[ArrayLike, "samples *batch classes"],
    log_weights: Float[ArrayLike, " samples"] | None = None,
) -> Float[Array, "*batch"]:
    """Mutual information of label and weights, ``H[E_s p_s] - E_s H[p_s]``.

    Args:
        log_probs: Normalised log-probabilities of each draw, ``samples *batch classes``.
        log_weights: Log of each draw's share of the mixture, ``samples``; all equal by default.

    Returns:
        Nats per example, ``*batch``, never negative by rounding.

    Raises:
        InputError: If `log_probs` or `log_weights` are not log-probabilities, or shapes do not
            match.

    References:
        Houlsby et al., *Bayesian active learning for classification and preference learning*,
        2011, eq. 2. Depeweg et al., *Decomposition of uncertainty in Bayesian deep learning*,
        ICML 2018.
    """
    total = total_entropy(log_probs, log_weights)
    return jnp.maximum(total - aleatoric_entropy(log_probs, log_weights), 0.0)


class MixtureMoments(NamedTuple):
    """Mean and variances of an equal mixture; ``total = aleatoric + epistemic``.

    Attributes:
        mean: Mean of the mixture, ``*batch``, in units of the target.
        total: Variance of the mixture, ``*batch``, in squared units of the target.
        aleatoric: Mean variance of the components, ``*batch``.
        epistemic: Variance of the components' means, ``*batch``.
    """

    mean: Float[Array, "*batch"]
    total: Float[Array, "*batch"]
    aleatoric: Float[Array, "*batch"]
    epistemic: Float[Array, "*batch"]


def mixture_moments(
    means: Float[ArrayLike, " samples *batch"], scales: Float[ArrayLike, " samples *batch"]
) -> MixtureMoments:
    """Law of total variance, ``Var[y] = E_s[σ_s²] + Var_s[μ_s]``.

    Args:
        means: Mean of each draw's prediction, ``samples *batch``.
        scales: Standard deviation of each draw's prediction, at least 0, ``samples *batch``.

    Returns:
        The moments, ``*batch`` each.

    Raises:
        InputError: If the shapes differ or are empty, a number is not finite, or a scale is
            negative.

    References:
        Depeweg et al., *Decomposition of uncertainty in Bayesian deep learning*, ICML 2018.
    """
    means, scales = mixture(means, scales, zero=True)
    aleatoric = jnp.mean(jnp.square(scales), axis=0)
    epistemic = jnp.var(means, axis=0)
    return MixtureMoments(jnp.mean(means, axis=0), aleatoric + epistemic, aleatoric, epistemic)


def gaussian_mixture_log_prob(
    y: Float[ArrayLike, "*batch"],
    means: Float[ArrayLike, "*mixture"],
    scales: Float[ArrayLike, "*mixture"],
    *,
    axis: int = 0,
) -> Float[Array, "*batch"]:
    """Log-density of an equal mixture of normals, ``log (1/S) Σ_s N(y; μ_s, σ_s²)``.

    Args:
        y: Targets, ``*batch``, each a scalar with its own mixture.
        means: Means of the components: ``*batch`` with an additional `axis` for the components.
        scales: Standard deviations of the components, above 0, with the shape of `means`.
        axis: The axis of the components.

    Returns:
        Nats per target, ``*batch``.

    Raises:
        InputError: If the shapes do not match or are empty, a number is not finite, or a scale is
            not above 0.
    """
    means, scales = mixture(means, scales)
    check_counts(-means.ndim, means.ndim - 1, axis=axis)
    means, scales = jnp.moveaxis(means, axis, 0), jnp.moveaxis(scales, axis, 0)
    y = real("y", y)
    if y.shape != means.shape[1:]:
        raise InputError(
            f"`y` must have the shape of `means` without its `axis`, {means.shape[1:]}, got "
            f"{y.shape}"
        )
    return _log_sum_exp(norm.logpdf(y[None], means, scales), log_shares(None, len(means), "means"))


def _log_sum_exp(x: Array, log_weights: Array) -> Array:
    x = x + jnp.expand_dims(log_weights, range(1, x.ndim))
    # The log of a sum of zeros has no gradient that floating point could find.
    is_zero = jnp.all(jnp.isneginf(x), axis=0, keepdims=True)
    logs = jax.nn.logsumexp(jnp.where(is_zero, 0.0, x), axis=0)
    return jnp.where(is_zero[0], -jnp.inf, logs)


def _entropy(log_probs: Array) -> Array:
    # The limit 0 log 0 = 0, which floating point would make a NaN.
    finite = jnp.where(jnp.isneginf(log_probs), 0.0, log_probs)
    return -jnp.sum(jnp.exp(log_probs) * finite, axis=-1)


def _checked(log_probs: ArrayLike, log_weights: ArrayLike | None) -> tuple[Array, Array]:
    log_probs = log_probabilities("log_probs", log_probs, "samples *batch classes")
    return log_probs, log_shares(log_weights, len(log_probs), "log_probs")
