"""Spoiled calls of `jfractal.priors` and `jfractal.likelihoods`."""

from collections.abc import Iterator
from functools import partial

import jax.numpy as jnp
import numpy as np
from numpyro import distributions as dist

from jfractal import likelihoods, priors
from tests.spoiled.calls import Call

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 3)).astype(np.float32)
LABELS = RNG.integers(0, 3, 6)
BINARY = RNG.integers(0, 2, 6)
Y = RNG.normal(size=(6, 1)).astype(np.float32)
PARAMS = {"kernel": jnp.asarray(LOGITS)}
PRIOR = priors.Gaussian(1.0)
# Outputs of a net may be anything, also NaN: that is what the log likelihood then is.
OUTPUTS = "NaN, all NaN, inf, -inf, negative, zero, doubled, huge, booleans, half precision"
LOGS = "negative, zero, doubled, huge, half precision"
SHIFTED = "negative, zero, doubled, huge, booleans, half precision"
WEIGHTS = "entry NaN, entry all NaN, entry inf, entry -inf, entry negative, entry zero"
WEIGHTS += ", entry doubled, entry huge, entry half precision, entry empty, entry an axis more"
WEIGHTS += ", entry a row less, entry a column less, entry flat, entry a scalar, in a list"

KEPT = ", ".join(word for word in WEIGHTS.split(", ") if not word.endswith(("NaN", "inf")))


def calls() -> Iterator[Call]:
    yield from _priors()
    yield from _likelihoods()


def _priors() -> Iterator[Call]:
    yield Call(
        priors.Gaussian,
        {"scale": 1.0, "mean": 0.0},
        {"scale": "two of them, a flag", "mean": "negative, two of them, a flag, a number, zero"},
    )
    yield Call(priors.ScaleMixture, {"pi": 0.5, "scale1": 1.0, "scale2": 0.1})
    for prior in (priors.Laplace, priors.Cauchy, priors.HorseshoeLike, priors.FanIn):
        yield Call(prior, {"scale": 1.0})
    yield Call(priors.StudentT, {"df": 3.0, "scale": 1.0})
    yield Call(priors.HierarchicalScale, {"concentration": 1.0, "rate": 1.0})
    yield Call(priors.Distribution, {"distribution": dist.Normal(0.0, 1.0)})
    yield Call(priors.as_prior, {"prior": PRIOR})
    yield Call(
        priors.ByPath,
        {"rules": [("*/bias", PRIOR)], "default": PRIOR},
        {"rules": "empty, a part less"},
    )
    yield Call(
        priors.CentredOn,
        {"params": PARAMS, "scale": 1.0, "relative": 0.1},
        {"params": KEPT, "relative": "zero"},
    )
    for prior in (
        PRIOR,
        priors.Laplace(),
        priors.ScaleMixture(),
        priors.StudentT(3.0),
        priors.HierarchicalScale(1.0, 1.0),
        priors.FanIn(),
        priors.ByPath([("*", PRIOR)], default=PRIOR),
    ):
        yield Call(
            prior.tree_log_prob,
            {"params": PARAMS},
            {"params": WEIGHTS},
            name=f"{type(prior).__name__}.tree_log_prob",
            may_be_nan=True,
        )


def _likelihoods() -> Iterator[Call]:
    yield Call(likelihoods.Gaussian, {"scale": 1.0})
    yield Call(likelihoods.HeteroscedasticGaussian, {"min_scale": 1e-3})
    yield Call(
        likelihoods.Categorical,
        {"weights": (1.0, 2.0), "smoothing": 0.1},
        {"weights": "a part less, part a number, part a flag", "smoothing": "zero"},
    )
    yield Call(likelihoods.check_likelihood, {"likelihood": likelihoods.Categorical()})
    for likelihood, outputs, targets, kept in (
        (likelihoods.Categorical(), np.pad(LOGITS, ((0, 0), (0, 1))), LABELS, ""),
        (likelihoods.Categorical(weights=(1.0, 2.0, 3.0)), LOGITS, LABELS, ""),
        (likelihoods.Bernoulli(), LOGITS[:, 0], BINARY, "booleans, floats"),
        (likelihoods.Dirichlet(), LOGITS, -np.abs(LOGITS), LOGS),
        (likelihoods.Gaussian(1.0), Y, Y, SHIFTED),
        (likelihoods.HeteroscedasticGaussian(), LOGITS[:, :2], Y, SHIFTED),
    ):
        asked = partial(likelihoods.per_example, likelihood)
        is_wider = type(likelihood) is likelihoods.Categorical and not likelihood.weights
        outputs_kept = OUTPUTS + ", a column less" * is_wider
        for function, name in (
            (likelihood.log_likelihood, "log_likelihood"),
            (asked, "per_example"),
        ):
            yield Call(
                function,
                {"outputs": outputs, "targets": targets},
                {"outputs": outputs_kept, "targets": kept},
                name=f"{type(likelihood).__name__}.{name}",
                may_be_nan=True,
            )
    for likelihood in (likelihoods.Gaussian(1.0), likelihoods.HeteroscedasticGaussian()):
        shapes = "an axis more, a row less, flat, a scalar, empty"
        yield Call(
            likelihood.moments,
            {"outputs": LOGITS[:, :2]},
            {"outputs": f"{OUTPUTS}, {shapes}, a column less, a number"},
            name=f"{type(likelihood).__name__}.moments",
            may_be_nan=True,
        )
