"""A simulator: weights from the prior, and data from the likelihood."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jfractal.arguments import as_array, check_finite, check_positive, check_type, naming
from jfractal.errors import InputError
from jfractal.inference.batch import Batch, batch_size
from jfractal.inference.method import check_model
from jfractal.inference.model import Model
from jfractal.likelihoods import Gaussian as GaussianLikelihood
from jfractal.posterior.gaussian import mean, mean_field, sample
from jfractal.priors import Gaussian as GaussianPrior
from jfractal.typing import Array, Float, KeyArray, Params, Scalar

__all__ = ["DENSITIES", "Simulator", "invariants"]


DENSITIES = "log likelihood", "log joint"
"""Quantities of `invariants` that increase towards the mode."""


@dataclass(frozen=True, eq=False)
class Simulator:
    """Draws from the joint distribution of weights and targets, ``w ~ p(w), y ~ p(y | w, x)``.

    Attributes:
        model: The model of the same distribution, which a method is given.
        x: Inputs.
        draw_weights: ``draw_weights(key) -> params`` draws from the prior.
        draw_targets: ``draw_targets(key, outputs) -> y`` draws from the likelihood.
    """

    model: Model
    x: Any
    draw_weights: Callable[[KeyArray], Params]
    draw_targets: Callable[[KeyArray, Any], Any]

    @classmethod
    def gaussian(
        cls,
        net: nn.Module,
        x: Float[Array, " examples *features"],
        *,
        prior_scale: float,
        noise_scale: float,
    ) -> "Simulator":
        """A regression with Gaussian weights and Gaussian noise.

        Args:
            net: A Flax module. If its weights are Gaussian leaves, only their means are used.
            x: Inputs.
            prior_scale: Standard deviation of every weight, above 0.
            noise_scale: Standard deviation of the noise, above 0.

        Raises:
            InputError: If an argument has a wrong type or shape, or is out of range.
        """
        check_type("net", net, nn.Module, "a Linen module")
        inputs = as_array("x", x)
        check_finite("x", inputs)
        if inputs.ndim < 1 or not inputs.size:
            raise InputError(f"`x` must have an axis of examples, got shape {inputs.shape}")
        check_positive(prior_scale=prior_scale, noise_scale=noise_scale)
        x = jnp.asarray(inputs)
        shapes = jax.eval_shape(lambda key: mean(net.init(key, x)["params"]), jax.random.key(0))
        zeros = jax.tree.map(lambda w: jnp.zeros(w.shape, w.dtype), shapes)
        prior = mean_field(zeros, scale=prior_scale)
        outputs = jax.eval_shape(net.apply, {"params": zeros}, x)
        if outputs.shape[:1] != x.shape[:1]:
            raise InputError(
                f"`x` must have an axis of examples, for each of which `net` has an output, got "
                f"shape {x.shape}, and outputs of shape {outputs.shape}"
            )
        model = Model(
            net.apply,
            prior=GaussianPrior(prior_scale),
            likelihood=GaussianLikelihood(noise_scale),
        )
        return cls(
            model,
            x,
            draw_weights=lambda key: sample(prior, key),
            draw_targets=lambda key, outputs: (
                outputs + noise_scale * jax.random.normal(key, outputs.shape, outputs.dtype)
            ),
        )

    def targets(self, params: Params, key: KeyArray) -> Any:
        """Targets drawn at the inputs, given the weights of the net."""
        return self.draw_targets(key, self.model.apply({"params": params}, self.x))


def invariants(params: Params, model: Model, data: Batch) -> dict[str, Scalar]:
    """Quantities for calibration that do not change if hidden units are permuted.

    These are the outputs at the first, the middle and the last example, ``f(x[0])`` and so on, the
    log likelihood, and the log joint (nats, summed). Without the densities, a method that returns
    the prior would pass.

    Args:
        params: Weights.
        model: Model with these weights.
        data: Inputs and targets, ``(x, y)``.

    Returns:
        Scalars by name.

    Source: Modrák et al., "Simulation-based calibration checking for Bayesian computation: the
        choice of test quantities shapes sensitivity", Bayesian Analysis 2023.
    """
    check_model(model)
    with naming("data"):
        num_data, x = batch_size(data), data[0]
    log_likelihood = model.log_likelihood({"params": params}, data).sum()
    places = [0, num_data // 2, num_data - 1]
    outputs = model.apply({"params": params}, x[jnp.array(places)])
    rows = outputs.reshape(len(places), -1)
    entries = [f"[{k}]" for k in range(rows.shape[1])] if rows.shape[1] > 1 else [""]
    log_prior = model.prior.tree_log_prob(params)
    return {
        **{
            f"f(x[{place}]){entry}": value
            for place, row in zip(places, rows)
            for entry, value in zip(entries, row)
        },
        **dict(zip(DENSITIES, (log_likelihood, log_likelihood + log_prior))),
    }
