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

    The likelihood of the model decides what is returned: a `Prediction` of classes (`Categorical`),
    a `BinaryPrediction` (`Bernoulli`), a `RegressionPrediction` (`Gaussian`,
    `HeteroscedasticGaussian`), or what the `prediction` method of your own likelihood returns.
    Probabilities, entropies and densities are float32 or wider, whatever dtype the net computes in.

    Args:
        model: The model, or just the ``apply`` of a classifier, e.g. ``net.apply``.
        posterior: Any posterior: a pytree with ``sample(key) -> variables``.
        x: Inputs, an array or a tree of arrays with the same leading batch axis, at least one
            example. May be traced.
        key: Random key.
        num_samples: Number of draws of the weights, at least 1.
        batch_size: Examples in a pass, over all devices. By default, as many as memory allows.
        samples_per_pass: The most draws to vmap in a pass, on each device. By default, as many as
            run faster together than one after another.
        mesh: Devices that share the work, with an axis ``data``, an axis ``samples``, or both, see
            `sample_outputs`.
        keep_samples: Whether the prediction holds what every draw predicts. If false, draws are
            added up as they are made, so that memory does not grow with their number. Means,
            probabilities and uncertainties are the same; whatever needs every draw, such as a
            credible interval, raises an error.

    Returns:
        The prediction, a `Mixture` over draws of the weights.

    Raises:
        InputError: If `model` is neither a model nor a function, its outputs do not fit its
            likelihood, a number is smaller than 1, `x` holds no example, `mesh` has other axes, or
            `posterior` cannot be drawn from.

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
