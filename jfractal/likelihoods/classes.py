"""Targets that are classes, or binary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jfractal.arguments import as_array, check_fraction, check_values, described
from jfractal.errors import InputError
from jfractal.likelihoods.likelihood import (
    Likelihood,
    check_shapes,
    one_or_nan,
    sum_over_event,
    wide_outputs,
)
from jfractal.predictions.binary import BinaryPrediction
from jfractal.predictions.classification import Prediction
from jfractal.predictions.mixture import wide
from jfractal.typing import Array, Float, Int, Scalar, Shaped

__all__ = ["Bernoulli", "Categorical"]


@dataclass(frozen=True)
class Categorical(Likelihood):
    """Class labels; outputs are logits.

    Attributes:
        weights: Positive weight of each class, ``w_y log p_y`` instead of ``log p_y``, for classes
            that are rare or matter more. A weight of 2 counts every example of the class twice. By
            default, all weights are 1.
        smoothing: Share s of every target that is spread evenly over all classes, in [0, 1]. This
            "label smoothing" keeps the logits of a net from growing without bound. The target is
            then a distribution, and the log likelihood is minus its cross-entropy.

    Raises:
        InputError: If a weight is not finite and above 0, or `smoothing` is out of range.

    Example:
        >>> Categorical(weights=(1.0, 20.0))  # the second class is rare
        Categorical(weights=(1.0, 20.0), smoothing=0.0)

    Source: King & Zeng, "Logistic regression in rare events data", 2001, §4.2. Smoothing: Szegedy
        et al., "Rethinking the Inception architecture", CVPR 2016, §7.
    """

    weights: Sequence[float] | np.ndarray | jax.Array | None = None
    smoothing: float = 0.0

    def __post_init__(self):
        check_fraction(smoothing=self.smoothing)
        if self.weights is None:
            return
        weights = as_array("weights", self.weights)
        if weights.ndim != 1 or not weights.size:
            raise InputError(
                f"`weights` must be one number for each class, got {described(self.weights)}"
            )
        check_values("weights", weights, "above 0 and finite", lambda w: (w > 0) & np.isfinite(w))
        # A tuple can be compared and hashed, whatever it was given as.
        object.__setattr__(self, "weights", tuple(np.asarray(weights, float).tolist()))

    def log_likelihood(
        self, outputs: Float[Array, "batch classes"], targets: Int[Array, " batch"]
    ) -> Float[Array, " batch"]:
        """``w_target log softmax(outputs)[target]``, in nats per example, w = 1 without `weights`.

        With smoothing s and K classes, it is ``w_target Σ_k t_k log softmax(outputs)[k]`` with
        ``t_k = (1 − s) [k = target] + s / K``.

        Raises:
            InputError: If labels are not one integer per example, a label is out of range, or the
                number of `weights` is not that of classes. Under `jit`, a label out of range gives
                a log likelihood and a gradient of NaN instead.
        """
        outputs = wide_outputs("outputs", outputs)
        if not outputs.ndim or not outputs.shape[-1]:
            raise InputError(f"`outputs` must have an axis of classes, got shape {outputs.shape}")
        *batch, classes = outputs.shape
        labels: Any = as_array("targets", targets)
        if list(labels.shape) != batch or not jnp.issubdtype(labels.dtype, jnp.integer):
            raise InputError(
                f"`targets`, the labels, must be integers of shape {tuple(batch)}, one for each "
                f"example of `outputs`, got {labels.dtype} of shape {labels.shape}"
            )
        in_range = lambda y: (y >= 0) & (y < classes)
        check_values(
            "targets", labels, f"labels in [0, {classes}), the classes of `outputs`", in_range
        )
        labels = jnp.asarray(labels)
        log_prob = -optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
        if self.smoothing > 0:
            spread = jax.nn.log_softmax(outputs).mean(axis=-1)
            log_prob = (1 - self.smoothing) * log_prob + self.smoothing * spread
        return self._weight_of(labels, classes) * log_prob * one_or_nan(in_range(labels))

    def _weight_of(self, labels: Array, num_classes: int) -> Array | float:
        if self.weights is None:
            return 1.0
        if len(self.weights) != num_classes:
            raise InputError(
                f"`weights` must be one number for each of the {num_classes} classes of "
                f"`outputs`, got {len(self.weights)}"
            )
        return jnp.asarray(self.weights, jnp.float32)[labels]

    def prediction(self, outputs: Any) -> Prediction:
        """The softmax of logits "batch classes".

        Raises:
            InputError: If the outputs are not floating-point logits of at least two classes.
        """
        shape, dtype = getattr(outputs, "shape", ()), getattr(outputs, "dtype", type(outputs))
        if len(shape) != 2 or shape[1] < 2 or not jnp.issubdtype(dtype, jnp.floating):
            raise InputError(
                '`outputs` of a classifier must be floating-point logits "batch classes" of at '
                f"least 2 classes, got {dtype} of shape {shape}: for other outputs, give a "
                "`jf.Model` with their likelihood, such as `Bernoulli()` for one logit"
            )
        return Prediction.single(jax.nn.log_softmax(wide(outputs)))

    def metrics(self, outputs: Any, targets: Any) -> dict[str, Scalar]:
        """``accuracy``: the fraction of examples whose largest logit is that of their label."""
        return {"accuracy": (outputs.argmax(-1) == targets).mean()}


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Binary targets, 0 or 1; outputs are logits, of the shape of the targets."""

    def log_likelihood(
        self, outputs: Float[Array, " batch *event"], targets: Shaped[Array, " batch *event"]
    ) -> Float[Array, " batch"]:
        """``log σ(output)`` for targets of 1, ``log σ(−output)`` for targets of 0.

        It is in nats, summed over the axes of one target.

        Raises:
            InputError: If the shapes differ, or a target is neither 0 nor 1. Under `jit`, such a
                target gives a log likelihood and a gradient of NaN instead.
        """
        outputs, values = wide_outputs("outputs", outputs), as_array("targets", targets)
        check_shapes(outputs, values)
        is_binary = lambda y: (y == 0) | (y == 1)
        check_values("targets", values, "0 or 1", is_binary)
        log_prob = jax.nn.log_sigmoid(jnp.where(jnp.asarray(values) == 1, outputs, -outputs))
        return sum_over_event(log_prob * one_or_nan(is_binary(jnp.asarray(values))))

    def prediction(self, outputs: Float[Array, " batch *event"]) -> BinaryPrediction:
        """The prediction with probabilities ``σ(outputs)``."""
        return BinaryPrediction.single(outputs)
