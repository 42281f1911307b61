"""The posterior predictive distribution, by Monte Carlo."""

from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh

from jfractal.arguments import check_flags
from jfractal.errors import InputError
from jfractal.inference.model import Model
from jfractal.likelihoods import Categorical, Likelihood
from jfractal.posterior.posterior import Posterior
from jfractal.predict.gathering import ADDED, KEPT
from jfractal.predict.passes import run
from jfractal.predict.question import Question, check_apply
from jfractal.predictions.mixture import Mixture, over_draws
from jfractal.typing import Apply, KeyArray

__all__ = ["predict"]


def predict(
    model: Model | Apply,
    posterior: Posterior,
    x: Any,
    key: KeyArray,
    *,
    num_samples: int = 32,
    batch_size: int | None = None,
    samples_per_pass: int | None = None,
    mesh: Mesh | None = None,
    keep_samples: bool = True,
) -> Any:
    """The posterior predictive ``p(y | x, D) ≈ mean_s p(y | apply(w_s, x))``, ``w_s ~ p(w | D)``.

    The likelihood of the model says what is predicted: a `Prediction` of classes (`Categorical`), a
    `BinaryPrediction` (`Bernoulli`), a `RegressionPrediction` (`Gaussian`,
    `HeteroscedasticGaussian`), or what a likelihood of your own returns from its `prediction`.
    Whatever the net computes in, probabilities, entropies and densities are float32 or wider.

    Args:
        model: The model, or the bare ``apply`` of a classifier, e.g. ``net.apply``.
        posterior: As for `sample_outputs`.
        x: As for `sample_outputs`.
        key: As for `sample_outputs`.
        num_samples: As for `sample_outputs`.
        batch_size: As for `sample_outputs`.
        samples_per_pass: As for `sample_outputs`.
        mesh: As for `sample_outputs`.
        keep_samples: Whether the prediction holds what every draw predicts. Without, draws are
            added up on the way: memory does not grow with their number, means, probabilities and
            uncertainties are the same, and what needs every draw, such as credible intervals, is
            refused.

    Returns:
        The prediction, a `Mixture` over draws of the weights.

    Raises:
        InputError: As `sample_outputs`; and if `model` is neither of the two, or its outputs are
            not what its likelihood reads.

    Example:
        ::

            p = jf.predict(model, fit.posterior, x, key, num_samples=100)
            p.probs, p.epistemic
    """
    check_flags(keep_samples=keep_samples)
    apply, likelihood = _parts(model)
    answers = run(
        Question(apply, partial(_read, likelihood)),
        KEPT if keep_samples else ADDED,
        posterior,
        x,
        key,
        num_samples=num_samples,
        batch_size=batch_size,
        samples_per_pass=samples_per_pass,
        mesh=mesh,
    )
    if not keep_samples:
        return answers
    return over_draws(jax.tree.map(lambda a: a[:num_samples], answers))


def _read(likelihood: Likelihood, outputs: Any) -> Mixture:
    prediction = likelihood.prediction(outputs)
    if not isinstance(prediction, Mixture):
        raise InputError(
            f"`prediction` of {type(likelihood).__name__} must return a `jf.Mixture`, such as "
            f"`jf.Prediction.single(log_probs)`, got a {type(prediction).__name__}"
        )
    return prediction


def _parts(model: Model | Apply) -> tuple[Apply, Likelihood]:
    if isinstance(model, Model):
        return model.apply, model.likelihood
    check_apply(
        model,
        "model",
        "a `jf.Model(net.apply, prior=..., likelihood=...)`, or the function "
        "`apply(variables, x)` of a classifier",
    )
    return model, Categorical()
