"""Temperature scaling: one number that makes a classifier as confident as it is accurate."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jfractal.arguments import check_positive
from jfractal.metrics.inputs import labelled, logits
from jfractal.typing import Array, Float, Int, Scalar

__all__ = ["fit_temperature", "tempered"]

LOWEST, HIGHEST = 0.01, 100.0


def fit_temperature(
    log_probs: Float[ArrayLike, "*batch classes"], labels: Int[ArrayLike, "*batch"]
) -> Scalar:
    """The maximum-likelihood temperature T, ``argmin_T -Σ_i log softmax(log p_i / T)[y_i]``.

    The negative log likelihood is convex in β = 1/T. Bisection finds the root of its slope, ``Σ_i
    E_β[log p_i] - log p_i[y_i]``.

    Args:
        log_probs: log-probabilities or logits of held-out examples, ``*batch classes``.
        labels: True classes of these examples in ``[0, classes)``, ``*batch``.

    Returns:
        T in [0.01, 100]. It is above 1 if the classifier is over-confident, and 0.01 if every label
        is the most probable class.

    Raises:
        InputError: If `log_probs` holds a NaN or is a table of probabilities, `labels` are not
            classes, or shapes do not match.

    References:
        Guo et al., *On calibration of modern neural networks*, ICML 2017, section 4.2.
    """
    log_probs, labels = labelled(logits, labels, log_probs=log_probs)
    of_label = jnp.take_along_axis(log_probs, labels[..., None], axis=-1)

    def slope(beta: Array) -> Scalar:
        probs = jax.nn.softmax(beta * log_probs)
        # The limit 0 log 0 = 0, which floating point would make a NaN.
        expected = jnp.sum(jnp.where(probs > 0, probs * log_probs, 0.0), axis=-1, keepdims=True)
        return jnp.mean(expected - of_label)

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        # Then the root has a larger β, a smaller T; where all is certain the slope rounds to 0.
        above = slope(jnp.exp(-middle)) <= 0
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    bounds = (jnp.log(LOWEST).astype(log_probs.dtype), jnp.log(HIGHEST).astype(log_probs.dtype))
    low, high = jax.lax.fori_loop(0, 24, halve, bounds)
    return jnp.exp((low + high) / 2)


def tempered(
    log_probs: Float[ArrayLike, "*batch classes"], temperature: float | Scalar
) -> Float[Array, "*batch classes"]:
    """Sharpens or softens a prediction, ``log softmax(log p / T)``, without reordering classes.

    Args:
        log_probs: log-probabilities or logits, ``*batch classes``.
        temperature: T, above 0, e.g. from `fit_temperature`; 1 changes nothing.

    Returns:
        Normalised log-probabilities, ``*batch classes``.

    Raises:
        InputError: If `log_probs` holds a NaN or is a table of probabilities, or `temperature` is
            not above 0.
    """
    check_positive(temperature=temperature)
    return jax.nn.log_softmax(logits("log_probs", log_probs) / temperature)
