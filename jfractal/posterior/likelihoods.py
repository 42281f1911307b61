"""Likelihoods: the log probability of targets, given the outputs of a net."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm

from jfractal.arguments import as_array, check_finite, check_positive, check_values, described
from jfractal.errors import InputError
from jfractal.predictions.binary import BinaryPrediction
from jfractal.predictions.classification import Prediction
from jfractal.predictions.mixture import Mixture, wide
from jfractal.predictions.regression import RegressionPrediction
from jfractal.typing import Array, Float, Int, Scalar, Shaped

__all__ = [
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "HeteroscedasticGaussian",
    "Likelihood",
    "check_likelihood",
    "per_example",
]


class Likelihood:
    """``log p(target | outputs)`` of one example, in nats.

    A subclass gives `log_likelihood` and, for `predict`, `prediction`.
    """

    def log_likelihood(self, outputs: Array, targets: Array) -> Float[Array, " batch"]:
        """Log likelihood of every example, in nats."""
        raise NotImplementedError

    def metrics(self, outputs: Any, targets: Any) -> dict[str, Scalar]:
        """Figures of a batch that are worth watching in training, by name; none by default."""
        return {}

    def prediction(self, outputs: Any) -> Mixture:
        """What one network predicts: ``p(target | outputs)``, for `predict` to average.

        Args:
            outputs: Of one network, for a batch of examples.

        Returns:
            One draw of a `jfractal.predictions.Mixture`, whose class says what can be read from
            the prediction: ``Prediction.single(log_probs)``, ``BinaryPrediction.single(log_odds)``,
            ``RegressionPrediction.single(mean, scale)``, or of a class of your own.

        Raises:
            InputError: If the likelihood does not say, or the outputs are not what it reads.

        Example:
            ::

                class Ordinal(jf.likelihoods.Likelihood):
                    def log_likelihood(self, outputs, targets): ...

                    def prediction(self, outputs):
                        return jf.Prediction.single(self.log_probs(outputs))
        """
        raise InputError(
            f"`predict` must know what {type(self).__name__} says of a target: give it a method "
            "`prediction(outputs)`, or ask `sample_outputs` for the outputs"
        )


def check_likelihood(likelihood: Any) -> None:
    """Refuses what is no likelihood: a function, or a class in place of an instance.

    Raises:
        InputError: If it is one of these.
    """
    if not isinstance(likelihood, Likelihood):
        raise InputError(
            "`likelihood` must be a Likelihood such as `Categorical()`, got "
            f"{described(likelihood)}"
        )


def per_example(likelihood: Likelihood, outputs: Any, targets: Any) -> Float[Array, " batch"]:
    """The log likelihood of every example of a batch, made sure to be one number for each.

    Args:
        likelihood: What to ask.
        outputs: Of a net.
        targets: With a leading axis of examples.

    Returns:
        Nats per example.

    Raises:
        InputError: If the likelihood returns anything else, above all a mean or a sum over
            the batch, with which the KL would be weighted wrongly.
    """
    check_likelihood(likelihood)
    leaves = jax.tree.leaves(targets)
    if not leaves or not getattr(leaves[0], "shape", ()):
        raise InputError(f"`targets` must have an axis of examples, got {described(targets)}")
    values = likelihood.log_likelihood(outputs, targets)
    expected = jnp.shape(leaves[0])[:1]
    if jnp.shape(values) != expected:
        raise InputError(
            "`log_likelihood` must return one number per example, not their mean or sum: expected "
            f"shape {expected}, got {jnp.shape(values)}"
        )
    return values


@dataclass(frozen=True)
class Categorical(Likelihood):
    """Class labels; outputs are logits.

    Attributes:
        weights: What an example of each class counts for, ``w_y log p_y`` in place of ``log p_y``,
            for classes that are rare or matter more: positive, one for each class. All count for 1
            if left out. A weighted likelihood is a likelihood of repeated examples: a weight of 2
            is as if every example of the class were there twice.

    Raises:
        InputError: If a weight is not above 0 and finite.

    Example:
        >>> Categorical(weights=(1.0, 20.0))  # the second class is rare
        Categorical(weights=(1.0, 20.0))

    Source: King & Zeng, "Logistic regression in rare events data", 2001, §4.2.
    """

    weights: Sequence[float] | np.ndarray | jax.Array | None = None

    def __post_init__(self):
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

        Raises:
            InputError: If labels are not one integer per example, or one is out of range, or
                `weights` are not as many as classes. Under `jit`, the log likelihood of a label
                that is out of range is NaN, and so is the gradient.
        """
        outputs = _wide("outputs", outputs)
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
        return self._weight_of(labels, classes) * log_prob * _one_or_nan(in_range(labels))

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
            InputError: If the outputs are not floating-point logits of two classes or more.
        """
        shape, dtype = getattr(outputs, "shape", ()), getattr(outputs, "dtype", type(outputs))
        if len(shape) != 2 or shape[1] < 2 or not jnp.issubdtype(dtype, jnp.floating):
            raise InputError(
                'a classifier must give floating-point logits "batch classes" of at least 2 '
                f"classes, got {dtype} of shape {shape}: say what else they are by the likelihood "
                "of a `jf.Model`, such as `Bernoulli()` for one logit"
            )
        return Prediction.single(jax.nn.log_softmax(wide(outputs)))

    def metrics(self, outputs: Any, targets: Any) -> dict[str, Scalar]:
        """``accuracy``: the share of examples whose largest logit is that of their label."""
        return {"accuracy": (outputs.argmax(-1) == targets).mean()}


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Binary targets, 0 or 1; outputs are logits, of the shape of the targets."""

    def log_likelihood(
        self, outputs: Float[Array, " batch *event"], targets: Shaped[Array, " batch *event"]
    ) -> Float[Array, " batch"]:
        """``log σ(output)`` where the target is 1, ``log σ(−output)`` where it is 0.

        In nats, summed over the axes of one target.

        Raises:
            InputError: If the shapes differ, or a target is neither 0 nor 1; under `jit`, its log
                likelihood and the gradient are NaN.
        """
        outputs, values = _wide("outputs", outputs), as_array("targets", targets)
        _check_shapes(outputs, values)
        is_binary = lambda y: (y == 0) | (y == 1)
        check_values("targets", values, "0 or 1", is_binary)
        log_prob = jax.nn.log_sigmoid(jnp.where(jnp.asarray(values) == 1, outputs, -outputs))
        return _sum_over_event(log_prob * _one_or_nan(is_binary(jnp.asarray(values))))

    def prediction(self, outputs: Float[Array, " batch *event"]) -> BinaryPrediction:
        """The sigmoid."""
        return BinaryPrediction.single(outputs)


@dataclass(frozen=True)
class Gaussian(Likelihood):
    """Real targets with noise of a known standard deviation; outputs are the means.

    Attributes:
        scale: Standard deviation of the noise, above 0 and finite.

    Raises:
        InputError: If `scale` is not.
    """

    scale: float

    def __post_init__(self):
        check_positive(scale=self.scale)

    def moments(self, outputs: Float[Array, "*shape"]) -> tuple[Array, Array]:
        """Mean and standard deviation of the targets, of the shape of the outputs."""
        outputs = _wide("outputs", outputs)
        return outputs, jnp.full_like(outputs, self.scale)

    def log_likelihood(
        self, outputs: Float[Array, " batch *event"], targets: Float[Array, " batch *event"]
    ) -> Float[Array, " batch"]:
        """``log N(target; output, scale²)``, in nats, summed over the axes of one target.

        Raises:
            InputError: If the shapes differ, or a target is not finite.
        """
        return _gaussian_log_likelihood(*self.moments(outputs), targets)

    def prediction(self, outputs: Float[Array, " batch *event"]) -> RegressionPrediction:
        """The normal."""
        return RegressionPrediction.single(*self.moments(wide(outputs)))


@dataclass(frozen=True)
class HeteroscedasticGaussian(Likelihood):
    """Real targets whose noise the net gives with their mean.

    The last axis of the outputs holds first the means of all k values of a target, then as many
    ρ: ``outputs = [mean_1 … mean_k, ρ_1 … ρ_k]`` and ``std = softplus(ρ) + min_scale``. A net with
    2k outputs learns noise that depends on its input; `jfractal.nn.LearnedNoise` gives one with k
    outputs noise that does not.

    Attributes:
        min_scale: Least standard deviation, above 0 and finite: without it, the density of a target
            that is hit exactly has no bound. In units of the targets, which should be standardised.

    Source: Nix & Weigend, 1994; Lakshminarayanan et al., "Simple and scalable predictive
        uncertainty estimation using deep ensembles", NeurIPS 2017, §2.2.1 (the floor).
    """

    min_scale: float = 1e-3

    def __post_init__(self):
        check_positive(min_scale=self.min_scale)

    def moments(self, outputs: Float[Array, "*shape"]) -> tuple[Array, Array]:
        """Mean and standard deviation of the targets, each half of the outputs' last axis.

        Raises:
            InputError: If that axis cannot be halved.
        """
        outputs = _wide("outputs", outputs)
        if outputs.ndim < 1 or outputs.shape[-1] % 2 or not outputs.size:
            raise InputError(
                "the last axis of `outputs` must hold a mean and a rho for each value of a "
                f"target, an even number, got shape {outputs.shape}"
            )
        mean, rho = jnp.split(outputs, 2, axis=-1)
        return mean, jax.nn.softplus(rho) + self.min_scale

    def log_likelihood(
        self, outputs: Float[Array, " batch *event"], targets: Float[Array, " batch *half"]
    ) -> Float[Array, " batch"]:
        """``log N(target; mean, std²)``, in nats, summed over the axes of one target.

        Raises:
            InputError: If the shape of the targets is not that of the means, or one is not finite.
        """
        return _gaussian_log_likelihood(*self.moments(outputs), targets)

    def prediction(self, outputs: Float[Array, " batch *event"]) -> RegressionPrediction:
        """The normal."""
        return RegressionPrediction.single(*self.moments(wide(outputs)))


def _gaussian_log_likelihood(mean: Array, std: Array, targets: Array) -> Float[Array, " batch"]:
    values = as_array("targets", targets)
    _check_shapes(mean, values)
    check_finite("targets", values)
    return _sum_over_event(norm.logpdf(jnp.asarray(values), mean, std))


def _wide(name: str, outputs: Any) -> Array:
    """Log likelihoods are computed in float32 or wider, whatever the net computes in."""
    outputs = jnp.asarray(as_array(name, outputs))
    return outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))


def _check_shapes(outputs: Array, targets: Any) -> None:
    # (batch, 1) against (batch,) would silently make a (batch, batch) table.
    if outputs.shape != targets.shape:
        raise InputError(
            f"`targets` must have the shape {outputs.shape} of what `outputs` predict, got "
            f"{targets.shape}"
        )


def _one_or_nan(valid: Array) -> Array:
    """A factor that makes what is not valid NaN, with its gradient: `where` would make that 0."""
    return jnp.where(valid, 1.0, jnp.nan)


def _sum_over_event(log_prob: Array) -> Float[Array, " batch"]:
    return jnp.sum(log_prob, axis=range(1, log_prob.ndim))
