"""A simulator: weights from the prior, and data from the likelihood."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jfractal.inference.log_joint import LogJoint
from jfractal.posterior.gaussian import mean, mean_field, sample
from jfractal.posterior.likelihoods import Gaussian as GaussianLikelihood
from jfractal.posterior.priors import Gaussian as GaussianPrior
from jfractal.typing import Array, Float, KeyArray, Params, Scalar

__all__ = ["Simulator", "invariants"]


@dataclass(frozen=True, eq=False)
class Simulator:
    """The joint distribution of weights and targets, ``w ~ p(w), y ~ p(y | w, x)``, to draw from.

    Attributes:
        log_joint: The same distribution as a method sees it: model, prior, likelihood, and the
            inputs; its targets are only a place for simulated ones.
        draw_weights: ``draw_weights(key) -> params``, from the prior.
        draw_targets: ``draw_targets(key, outputs) -> y``, from the likelihood.
    """

    log_joint: LogJoint
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
            net: A model with arrays for weights, or Gaussian leaves, of which the means count.
            x: Inputs.
            prior_scale: Standard deviation of every weight, above 0.
            noise_scale: Standard deviation of the noise, above 0.
        """
        shapes = jax.eval_shape(lambda key: mean(net.init(key, x)["params"]), jax.random.key(0))
        zeros = jax.tree.map(lambda w: jnp.zeros(w.shape, w.dtype), shapes)
        prior = mean_field(zeros, scale=prior_scale)
        outputs = jax.eval_shape(net.apply, {"params": zeros}, x)
        log_joint = LogJoint(
            net.apply,
            (x, jnp.zeros(outputs.shape, outputs.dtype)),
            GaussianPrior(prior_scale),
            GaussianLikelihood(noise_scale),
        )
        return cls(
            log_joint,
            draw_weights=lambda key: sample(prior, key),
            draw_targets=lambda key, outputs: (
                outputs + noise_scale * jax.random.normal(key, outputs.shape, outputs.dtype)
            ),
        )

    def targets(self, params: Params, key: KeyArray) -> Any:
        """Targets of the net that has these weights, at the inputs."""
        outputs = self.log_joint.apply({"params": params}, self.log_joint.data[0])
        return self.draw_targets(key, outputs)

    def given(self, targets: Any) -> LogJoint:
        """The log joint of these targets."""
        return replace(self.log_joint, data=(self.log_joint.data[0], targets))


def invariants(params: Params, log_joint: LogJoint) -> dict[str, Scalar]:
    """What to test calibration by: functions of the weights that permuting hidden units leaves be.

    The outputs at the first, the middle and the last example, ``f(x[0])`` and so on, the log
    likelihood, and the log joint (nats, summed). Without the densities, a method that returns the
    prior would pass.

    Source: Modrák et al., "Simulation-based calibration checking for Bayesian computation: the
        choice of test quantities shapes sensitivity", Bayesian Analysis 2023.
    """
    x, _ = log_joint.data
    places = [0, log_joint.num_data // 2, log_joint.num_data - 1]
    outputs = log_joint.apply({"params": params}, x[jnp.array(places)])
    rows = outputs.reshape(len(places), -1)
    entries = [f"[{k}]" for k in range(rows.shape[1])] if rows.shape[1] > 1 else [""]
    log_likelihood = log_joint.log_likelihood(params, log_joint.data).sum()
    return {
        **{
            f"f(x[{place}]){entry}": value
            for place, row in zip(places, rows)
            for entry, value in zip(entries, row)
        },
        "log likelihood": log_likelihood,
        "log joint": log_likelihood + log_joint.prior.tree_log_prob(params),
    }
