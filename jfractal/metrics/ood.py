"""How well a score separates out-of-distribution from in-distribution examples.

A score is any number that should be higher for an out-of-distribution example, such as
`total_entropy`, `epistemic_entropy` or one minus the confidence.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike

from jfractal.metrics.inputs import scores
from jfractal.typing import Array, Float, Scalar

__all__ = ["aupr", "auroc", "fpr95"]


def auroc(
    scores_in: Float[ArrayLike, " inside"], scores_out: Float[ArrayLike, " outside"]
) -> Scalar:
    """Area under the ROC curve, ``P(out > in) + P(out = in) / 2``.

    Args:
        scores_in: Scores of in-distribution examples, ``inside``.
        scores_out: Scores of out-of-distribution examples, ``outside``.

    Returns:
        A fraction in [0, 1]; 1/2 is chance. Under `jax.jit`, NaN if a score is NaN.

    Raises:
        InputError: If the scores are not two vectors with at least one element each, or hold a NaN.

    References:
        Hanley & McNeil, *The meaning and use of the area under a receiver operating
        characteristic (ROC) curve*, 1982 (its equality with the Mann-Whitney statistic).
    """
    scores_in, scores_out = _checked(scores_in, scores_out)
    ordered = jnp.sort(scores_in)
    below = jnp.searchsorted(ordered, scores_out, side="left")
    not_above = jnp.searchsorted(ordered, scores_out, side="right")
    area = jnp.mean((below + not_above) / (2 * ordered.size))
    return _unless_nan(area, scores_in, scores_out)


def aupr(
    scores_in: Float[ArrayLike, " inside"], scores_out: Float[ArrayLike, " outside"]
) -> Scalar:
    """Area under the precision-recall curve of detecting out-of-distribution examples.

    It is the average precision ``Σ_n (R_n - R_(n-1)) P_n`` over thresholds, without interpolation.
    Chance level is the share of `scores_out` among all scores. To detect in-distribution examples
    instead ("AUPR-In"), use ``aupr(-scores_out, -scores_in)``.

    Args:
        scores_in: Scores of in-distribution examples, ``inside``.
        scores_out: Scores of out-of-distribution examples, ``outside``.

    Returns:
        A fraction in [0, 1]. Under `jax.jit`, NaN if a score is NaN.

    Raises:
        InputError: If the scores are not two vectors with at least one element each, or hold a NaN.

    References:
        Davis & Goadrich, *The relationship between precision-recall and ROC curves*, ICML 2006.
        Hendrycks & Gimpel, ICLR 2017 (for out-of-distribution detection).
    """
    scores_in, scores_out = _checked(scores_in, scores_out)
    ordered = jnp.sort(scores_out)
    found = ordered.size - jnp.searchsorted(ordered, ordered, side="left")
    false = scores_in.size - jnp.searchsorted(jnp.sort(scores_in), ordered, side="left")
    return _unless_nan(jnp.mean(found / (found + false)), scores_in, scores_out)


def fpr95(
    scores_in: Float[ArrayLike, " inside"], scores_out: Float[ArrayLike, " outside"]
) -> Scalar:
    """False positive rate at 95 % true positive rate, with in-distribution examples as positives.

    It is the fraction of `scores_out` that do not exceed a threshold. The threshold is the lowest
    of `scores_in` that at least 95 % of them do not exceed.

    Args:
        scores_in: Scores of in-distribution examples, ``inside``.
        scores_out: Scores of out-of-distribution examples, ``outside``.

    Returns:
        A fraction in [0, 1]; lower is better. Under `jax.jit`, NaN if a score is NaN.

    Raises:
        InputError: If the scores are not two vectors with at least one element each, or hold a NaN.

    References:
        Liang et al., *Enhancing the reliability of out-of-distribution image detection in
        neural networks*, ICLR 2018 ("FPR at 95% TPR").
    """
    scores_in, scores_out = _checked(scores_in, scores_out)
    num_pass = -(-95 * scores_in.size // 100)  # rounded up, in integers: 0.95 n is not exact
    gate = jnp.sort(scores_in)[num_pass - 1]
    return _unless_nan(jnp.mean(scores_out <= gate), scores_in, scores_out)


def _checked(scores_in: ArrayLike, scores_out: ArrayLike) -> tuple[Array, Array]:
    return scores("scores_in", scores_in, "inside"), scores("scores_out", scores_out, "outside")


def _unless_nan(rate: Array, scores_in: Array, scores_out: Array) -> Array:
    # Under `jit`: a NaN sorts above every number, and a net that diverged would look perfect.
    broken = jnp.isnan(scores_in).any() | jnp.isnan(scores_out).any()
    return jnp.where(broken, jnp.nan, rate)
