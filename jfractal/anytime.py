"""Prediction at any depth: stop at the first column that is sure enough."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

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

__all__ = ["EarlyExit", "early_exit", "nested_sets"]


@dataclass(frozen=True)
class EarlyExit:
    """What a cascade of columns answered, and what each answer cost.

    Attributes:
        probs: The predictive distribution of the column that answered.
        column: Which one it was.
        flops: Floating-point operations spent on the example, those of all columns that were run,
            for one draw of the weights.
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
    """Runs the columns from the shallowest on; an example leaves when one is confident of it.

    Column c answers if its largest probability is at least `threshold`, the deepest answers in any
    case. The columns of a net of C columns cost together less than twice its deepest, so the worst
    case is bounded.

    Args:
        model: A fractal classifier, see `jfractal.fractal_model`.
        posterior: Over its weights, see `predict`.
        x: Inputs, "batch ...", on the host: those that are left are gathered anew for each column.
        key: Random key; all columns see the same draws of the weights.
        threshold: Confidence that suffices, in [0, 1]; above 1 nobody leaves early.
        num_samples: Draws of the weights.
        batch_size: Examples in a pass.

    Returns:
        An `EarlyExit`.

    Raises:
        InputError: If `model` is not of a fractal net, its net has no columns, it is no classifier,
            or `threshold` is negative.

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
            "`model` must be of a fractal classifier, `jf.fractal_model(net, prior=..., "
            f"likelihood=jf.likelihoods.Categorical())`, got {model!r}"
        )
    if not model.net.columns:
        raise InputError("`model` must have columns to leave early from, its net has none")


def nested_sets(
    probs: Sequence[Float[np.ndarray, "batch classes"]],
    held_out: Sequence[Float[np.ndarray, "held classes"]],
    held_out_labels: Int[np.ndarray, " held"],
    *,
    alpha: float = 0.1,
) -> list[Bool[np.ndarray, "batch classes"]]:
    """Prediction sets of growing depth that never take a class back in.

    The set after k columns is the intersection of the conformal sets of columns 1 to k, each of
    level α/C: by the union bound all of them together hold the label with probability at least
    1 − α, wherever one stops. A set may end empty: the columns contradict each other.

    Args:
        probs: Predictions of each column, the shallowest first.
        held_out: Predictions of each column for held-out examples.
        held_out_labels: Their labels.
        alpha: Share of labels that may be missed at any depth, in (0, 1).

    Returns:
        The sets after each column.

    Raises:
        InputError: If the columns of `probs` and `held_out` differ in number, they do not hold
            probabilities, or `alpha` is out of range.

    Source: the aim is that of Jazbec et al., "Early-exit neural networks with nested prediction
        sets", UAI 2024, who intersect sets of an anytime-valid confidence sequence.
    """
    check_number("between 0 and 1", lambda x: (x > 0) & (x < 1), alpha=alpha)
    here, there = _columns("probs", probs), _columns("held_out", held_out)
    if len(here) != len(there):
        raise InputError(
            f"`held_out` must hold an array for each of `probs`, {len(here)}, got {len(there)}"
        )
    *held, classes = there[0].shape
    labels = check_labels(held_out_labels, tuple(held), classes, "held_out", "held_out_labels")
    sets: list[np.ndarray] = []
    for at_column, known in zip(here, there):
        threshold = conformal_threshold(known, labels, alpha=alpha / len(here))
        inside = np.asarray(prediction_sets(at_column, threshold))
        sets.append(inside & sets[-1] if sets else inside)
    return sets


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
