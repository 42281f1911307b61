"""The interface of a likelihood: the log probability of targets given the outputs of a net."""

from typing import Any

import jax
import jax.numpy as jnp

from jfractal.arguments import as_array, described
from jfractal.errors import InputError
from jfractal.predictions.mixture import Mixture
from jfractal.typing import Array, Float, Scalar

__all__ = [
    "Likelihood",
    "check_likelihood",
    "check_shapes",
    "one_or_nan",
    "per_example",
    "sum_over_event",
    "wide_outputs",
]


class Likelihood:
    """``log p(target | outputs)`` of one example, in nats.

    A subclass defines `log_likelihood` and, for `predict`, `prediction`.
    """

    def log_likelihood(self, outputs: Array, targets: Array) -> Float[Array, " batch"]:
        """Log likelihood of every example, in nats."""
        raise NotImplementedError

    def metrics(self, outputs: Any, targets: Any) -> dict[str, Scalar]:
        """Metrics of a batch to watch in training, by name; none by default."""
        return {}

    def prediction(self, outputs: Any) -> Mixture:
        """The prediction of one network, ``p(target | outputs)``, for `predict` to average.

        Args:
            outputs: Outputs of one network for a batch of examples.

        Returns:
            One draw of a `jfractal.predictions.Mixture`: ``Prediction.single(log_probs)``,
            ``BinaryPrediction.single(log_odds)``, ``RegressionPrediction.single(mean, scale)``, or
            an instance of your own class. The class decides what can be read from the prediction.

        Raises:
            InputError: If the likelihood has no prediction, or the outputs do not fit it.

        Example:
            ::

                class Ordinal(jf.likelihoods.Likelihood):
                    def log_likelihood(self, outputs, targets): ...

                    def prediction(self, outputs):
                        return jf.Prediction.single(self.log_probs(outputs))
        """
        raise InputError(
            f"`predict` needs a method `prediction(outputs)` of {type(self).__name__}: define it, "
            "or call `sample_outputs` for the outputs"
        )


def check_likelihood(likelihood: Any) -> None:
    """Refuses anything but a likelihood, such as a function, or a class instead of an instance.

    Raises:
        InputError: If `likelihood` is not a likelihood.
    """
    if not isinstance(likelihood, Likelihood):
        raise InputError(
            "`likelihood` must be a Likelihood such as `Categorical()`, got "
            f"{described(likelihood)}"
        )


def per_example(likelihood: Likelihood, outputs: Any, targets: Any) -> Float[Array, " batch"]:
    """The log likelihood of every example of a batch, checked to be one number per example.

    Args:
        likelihood: The likelihood.
        outputs: Outputs of a net.
        targets: Targets, with a leading axis of examples.

    Returns:
        Nats per example.

    Raises:
        InputError: If the likelihood returns anything else, such as a mean or a sum over the batch;
            the KL would then get the wrong weight.
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


def wide_outputs(name: str, outputs: Any) -> Array:
    """Outputs in float32 or wider, in which log likelihoods are computed."""
    outputs = jnp.asarray(as_array(name, outputs))
    return outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))


def check_shapes(outputs: Array, targets: Any) -> None:
    """Refuses targets whose shape is not that of the predictions."""
    # (batch, 1) against (batch,) would silently make a (batch, batch) table.
    if outputs.shape != targets.shape:
        raise InputError(
            f"`targets` must have the shape {outputs.shape} of what `outputs` predict, got "
            f"{targets.shape}"
        )


def one_or_nan(valid: Array) -> Array:
    """A factor that makes invalid values and their gradients NaN; `where` would give gradient 0."""
    return jnp.where(valid, 1.0, jnp.nan)


def sum_over_event(log_prob: Array) -> Float[Array, " batch"]:
    """Log likelihood of every example, summed over the axes of one target."""
    return jnp.sum(log_prob, axis=range(1, log_prob.ndim))
