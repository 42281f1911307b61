"""Targets that are class probabilities of many draws, summarised in one distribution."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln

from jfractal.arguments import as_array, check_values
from jfractal.errors import InputError
from jfractal.likelihoods.likelihood import Likelihood, check_shapes, one_or_nan, wide_outputs
from jfractal.predictions.classification import Prediction
from jfractal.typing import Array, Float, Scalar

__all__ = ["Dirichlet"]


@dataclass(frozen=True)
class Dirichlet(Likelihood):
    """Class probabilities that vary from draw to draw: ``π ~ Dirichlet(α)``, ``α = exp(outputs)``.

    This likelihood distils a posterior into one net. Each draw of the weights predicts a π for an
    input, and the net learns the distribution of π over draws. A single pass of the net then gives
    the mean prediction of all draws and how much they disagree. Targets are the mean over draws of
    ``log π``; the likelihood depends on nothing else.

    Example:
        ::

            draws = jf.predict(model, posterior, x, key, num_samples=50).samples
            student = jf.Model(
                net.apply, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Dirichlet()
            )
            method = jf.maximum_a_posteriori(student, optax.adam(1e-3))
            fit = jf.fit(method, params, (x, draws.mean(0)), key, num_epochs=20, batch_size=128)
            p = jf.predict(student, fit.posterior, x, key, num_samples=1)
            p.probs, p.aleatoric, p.epistemic

    Source: Malinin, Mlodozeniec & Gales, "Ensemble distribution distillation", ICLR 2020, eq. 10.
    """

    def log_likelihood(
        self, outputs: Float[Array, "batch classes"], targets: Float[Array, "batch classes"]
    ) -> Float[Array, " batch"]:
        """``E[log Dirichlet(π; α)] = Σ_k (α_k − 1) E[log π_k] + log Γ(Σ α) − Σ_k log Γ(α_k)``.

        Args:
            outputs: ``log α``.
            targets: ``E[log π]``, the mean of log probabilities over draws, in nats.

        Returns:
            Nats per example. They may be positive, because a density may be above 1.

        Raises:
            InputError: If the shapes differ, or a target is not a finite number of at most 0. Under
                `jit`, such a target gives a log likelihood and a gradient of NaN instead.
        """
        outputs, values = wide_outputs("outputs", outputs), as_array("targets", targets)
        check_shapes(outputs, values)
        is_log = lambda t: (t <= 0) & (t > -np.inf)
        check_values("targets", values, "log probabilities, finite and at most 0", is_log)
        log_probs, alpha = jnp.asarray(values, outputs.dtype), jnp.exp(outputs)
        terms = (alpha - 1) * log_probs - gammaln(alpha)
        valid = one_or_nan(is_log(log_probs).all(-1))
        return (terms.sum(-1) + gammaln(alpha.sum(-1))) * valid

    def prediction(self, outputs: Float[Array, "batch classes"]) -> Prediction:
        """The prediction with probabilities ``α / Σ α`` and aleatoric entropy ``E[H(π)]``.

        ``E[H(π)] = ψ(Σ α + 1) − Σ_k α_k / Σ α · ψ(α_k + 1)``.

        Raises:
            InputError: If the outputs do not have axes of examples and of at least two classes.
        """
        outputs = wide_outputs("outputs", outputs)
        if outputs.ndim != 2 or outputs.shape[1] < 2:
            raise InputError(
                '`outputs` must be log concentrations "batch classes" of at least 2 classes, got '
                f"shape {outputs.shape}"
            )
        log_probs, alpha = jax.nn.log_softmax(outputs), jnp.exp(outputs)
        mean = (jnp.exp(log_probs) * digamma(alpha + 1)).sum(-1)
        return Prediction(log_probs, digamma(alpha.sum(-1) + 1) - mean)

    def metrics(self, outputs: Any, targets: Any) -> dict[str, Scalar]:
        """``agreement``: fraction of examples with the same most probable class as the draws."""
        return {"agreement": (outputs.argmax(-1) == targets.argmax(-1)).mean()}
