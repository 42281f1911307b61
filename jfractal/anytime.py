"""Prediction at any depth: stop at the first column that is confident enough."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import bdtr

from jfractal.arguments import as_array, check_number, check_type, described, naming
from jfractal.errors import InputError
from jfractal.inference.fractal_model import FractalModel
from jfractal.likelihoods import Categorical
from jfractal.metrics.conformal import conformal_threshold, prediction_sets
from jfractal.metrics.inputs import check_labels, probabilities
from jfractal.posterior.posterior import Posterior
from jfractal.predict import predict
from jfractal.summary import summary
from jfractal.typing import Array, Bool, Float, Int, KeyArray

__all__ = ["EarlyExit", "early_exit", "nested_sets", "risk_controlled_threshold"]


@dataclass(frozen=True)
class EarlyExit:
    """The predictions of a cascade of columns, and the cost of each.

    Attributes:
        probs: The predictive distribution, from the column at which each example left.
        column: The number of that column.
        flops: Floating-point operations spent on the example, for one draw of the weights, summed
            over all columns that ran.
    """

    probs: Float[np.ndarray, "batch classes"]
    column: Int[np.ndarray, " batch"]
    flops: Int[np.ndarray, " batch"]

    __repr__ = summary


def early_exit(
    model: FractalModel,
    posterior: Posterior,
    x: Any,
    key: KeyArray,
    *,
    threshold: float,
    num_samples: int = 1,
    batch_size: int | None = None,
) -> EarlyExit:
    """Runs columns from the shallowest on; an example leaves at the first confident column.

    An example leaves at column c if the largest probability there is at least `threshold`, and at
    the deepest column in any case. All columns together cost less than twice the deepest one, so
    the worst case is bounded.

    Args:
        model: A fractal classifier, see `jfractal.fractal_model`.
        posterior: Posterior over its weights, see `predict`.
        x: Inputs, "batch ...", on the host. The remaining examples are gathered for each column.
        key: Random key; all columns see the same draws of the weights.
        threshold: Confidence to leave at, in [0, 1]. Above 1, no example leaves early.
        num_samples: Number of draws of the weights.
        batch_size: Examples in a pass.

    Returns:
        An `EarlyExit`.

    Raises:
        InputError: If `model` is not the model of a fractal net with columns, it is not a
            classifier, or `threshold` is negative.

    Example:
        ::

            model = jf.fractal_model(fractal, prior=prior, likelihood=likelihood)
            posterior = jf.Point(fractal.init(key, images))
            answer = jf.anytime.early_exit(model, posterior, images, key, threshold=0.9)
            answer.probs, answer.flops.mean()
    """
    _check_model(model)
    check_number("at least 0", lambda x: x >= 0, threshold=threshold)
    x = np.asarray(as_array("x", x))
    if x.ndim < 2:
        raise InputError(f"`x` must have an axis of examples, and of features, got {described(x)}")
    threshold = min(float(threshold), 2.0)  # what nobody reaches
    left, spent, net = np.arange(len(x)), 0, model.net
    probs, column, flops = None, np.zeros(len(x), int), np.zeros(len(x), int)
    for c in net.columns:
        with naming("x"):
            spent += net.num_flops(x.shape[1:], column=c)
        prediction = predict(
            replace(model, apply=net.column(c).apply),
            posterior,
            x[left],
            key,
            num_samples=num_samples,
            batch_size=len(x) if batch_size is None else batch_size,
            keep_samples=False,
        )
        answer = np.asarray(prediction.probs)
        probs = np.zeros((len(x), answer.shape[-1]), answer.dtype) if probs is None else probs
        leaves = (answer.max(-1) >= threshold) | (c == net.columns[-1])
        probs[left[leaves]], column[left[leaves]], flops[left[leaves]] = answer[leaves], c, spent
        left = left[~leaves]
        if not len(left):
            break
    assert probs is not None
    return EarlyExit(probs, column, flops)


def _check_model(model: Any) -> None:
    if not isinstance(model, FractalModel) or not isinstance(model.likelihood, Categorical):
        raise InputError(
            "`model` must be that of a fractal classifier, `jf.fractal_model(net, prior=..., "
            f"likelihood=jf.likelihoods.Categorical())`, got {model!r}"
        )
    if not model.net.columns:
        raise InputError("`model` must have columns to exit early from, its net has none")


def nested_sets(
    probs: Sequence[Float[np.ndarray, "batch classes"]],
    held_out: Sequence[Float[np.ndarray, "held classes"]],
    held_out_labels: Int[np.ndarray, " held"],
    *,
    alpha: float = 0.1,
) -> list[Bool[np.ndarray, "batch classes"]]:
    """Prediction sets that only shrink with depth: a class that is removed never returns.

    The set after k columns is the intersection of the conformal sets of columns 1 to k, each at
    level α/C. By the union bound, all sets contain the label with probability at least 1 − α, at
    whichever column one stops. A set may become empty if columns contradict each other.

    Args:
        probs: Predictions of each column, the shallowest first.
        held_out: Predictions of each column for held-out examples.
        held_out_labels: Labels of the held-out examples.
        alpha: Fraction of labels that may be missed at any depth, in (0, 1).

    Returns:
        The sets after each column.

    Raises:
        InputError: If the columns of `probs` and `held_out` differ in number, they do not hold
            probabilities, or `alpha` is out of range.

    Source: Jazbec et al., "Early-exit neural networks with nested prediction sets", UAI 2024, have
        the same aim, but intersect sets of an anytime-valid confidence sequence.
    """
    check_number("between 0 and 1", lambda x: (x > 0) & (x < 1), alpha=alpha)
    here = _columns("probs", probs)
    there, labels = _held_out(held_out, held_out_labels)
    if len(here) != len(there):
        raise InputError(
            f"`held_out` must hold an array for each of `probs`, {len(here)}, got {len(there)}"
        )
    sets: list[np.ndarray] = []
    for at_column, known in zip(here, there):
        threshold = conformal_threshold(known, labels, alpha=alpha / len(here))
        inside = np.asarray(prediction_sets(at_column, threshold))
        sets.append(inside & sets[-1] if sets else inside)
    return sets


def risk_controlled_threshold(
    held_out: Sequence[Float[np.ndarray, "held classes"]],
    held_out_labels: Int[np.ndarray, " held"],
    *,
    risk: float,
    delta: float = 0.05,
) -> float:
    """The lowest threshold of `early_exit` whose harm is at most `risk`, with confidence 1 − δ.

    The harm R(λ) of a threshold λ is the probability that the column that answers is wrong where
    the deepest is right. Accuracy falls by no more than that, against the deepest column. The
    threshold is ``λ̂ = inf {λ : U(λ') ≤ risk for all λ' ≥ λ}``, where U is the exact upper
    bound of confidence 1 − δ on R (Clopper & Pearson) from n held-out examples. Then
    ``P(R(λ̂) ≤ risk) ≥ 1 − δ`` over their draw, if new examples come from the same distribution.

    Args:
        held_out: Predictions of each column for held-out examples that are used for nothing else,
            the shallowest first.
        held_out_labels: Their labels.
        risk: Harm that is tolerated, in (0, 1).
        delta: Probability that the harm may exceed it, in (0, 1).

    Returns:
        A confidence in [0, 1]; infinity, at which nobody leaves early, if no lower one is safe. It
        is infinity whenever ``(1 − risk)ⁿ > δ``: too few examples to tell.

    Raises:
        InputError: If `risk` or `delta` is out of range, the columns do not hold probabilities of
            the same examples, or the labels do not match them.

    Example:
        >>> import jax, jfractal as jf
        >>> logits = 3 * jax.random.normal(jax.random.key(0), (2, 500, 10))
        >>> held_out, labels = list(jax.nn.softmax(logits)), logits[1].argmax(-1)
        >>> threshold = jf.anytime.risk_controlled_threshold(held_out, labels, risk=0.05)
        >>> 0 < threshold < 1
        True

    References:
        Jazbec et al., "Fast yet safe: early-exiting with risk control", NeurIPS 2024; the bound on
        all higher thresholds: Bates et al., "Distribution-free, risk-controlling prediction sets",
        Journal of the ACM 2021.
    """
    check_number("between 0 and 1", lambda x: (x > 0) & (x < 1), risk=risk, delta=delta)
    columns, labels = _held_out(held_out, held_out_labels)
    probs, truth = np.stack(columns), np.asarray(labels)
    # Column c answers where the highest confidence so far first reaches the threshold.
    reached = np.maximum.accumulate(probs.max(-1)[:-1], axis=0)
    right = probs.argmax(-1) == truth
    harm = ~right[:-1] & right[-1]
    thresholds = np.unique(reached)
    harmed = np.zeros(len(thresholds), int)
    for c, harms in enumerate(harm):
        harmed += _at_least(thresholds, reached[c][harms])
        if c:
            harmed -= _at_least(thresholds, reached[c - 1][harms])
    # Clopper and Pearson's bound is at most `risk` where so few would be that unlikely.
    is_safe = bdtr(harmed, len(truth), float(risk)) <= delta
    safe = thresholds[len(is_safe) - np.logical_and.accumulate(is_safe[::-1]).sum() :]
    return float(safe[0]) if len(safe) else np.inf


def _at_least(thresholds: np.ndarray, values: np.ndarray) -> Int[np.ndarray, " thresholds"]:
    """How many of the values reach each of the thresholds."""
    return len(values) - np.searchsorted(np.sort(values), thresholds)


def _held_out(held_out: Any, held_out_labels: Any) -> tuple[list[Array], Array]:
    """Predictions of each column for held-out examples, and their labels."""
    columns = _columns("held_out", held_out)
    *held, classes = columns[0].shape
    labels = check_labels(held_out_labels, tuple(held), classes, "held_out", "held_out_labels")
    return columns, labels


def _columns(name: str, values: Any) -> list[Array]:
    """Probabilities of each column, all for the same examples."""
    check_type(name, values, (list, tuple), "a list of arrays, one for each column")
    columns = [probabilities(name, value, "batch classes") for value in values]
    if len({column.shape for column in columns}) != 1:
        raise InputError(
            f"`{name}` must hold at least one array, and all of one shape, got shapes "
            f"{[column.shape for column in columns]}"
        )
    return columns
