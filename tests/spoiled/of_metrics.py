"""Spoiled calls of `jfractal.metrics`."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jfractal import metrics
from tests.spoiled.calls import Call

RNG = np.random.default_rng(0)
SAMPLES = RNG.dirichlet(np.ones(3), (4, 6)).astype(np.float32)
PROBS, OTHERS = SAMPLES[0], SAMPLES[1]
LOG_SAMPLES, LOG_PROBS = np.log(SAMPLES), np.log(PROBS)
LABELS = RNG.integers(0, 3, 6)
SHARES = np.log(RNG.dirichlet(np.ones(4))).astype(np.float32)
SCORES, SCALES = RNG.normal(size=(2, 4, 6)).astype(np.float32)
SCALES = np.abs(SCALES) + 0.1
CORRECT = RNG.random(6) > 0.3
CHAINS = RNG.normal(size=(2, 8)).astype(np.float32)
KEY = jax.random.key(0)

SAME = "half precision, a list"
SHIFTED = f"{SAME}, negative, zero, doubled, booleans, huge"
ORDER = f"{SHIFTED}, inf, -inf"


def calls() -> Iterator[Call]:
    probs = {"probs": PROBS, "labels": LABELS}
    exact = {"probs": SAME}
    yield Call(metrics.accuracy, probs, {"probs": ORDER})
    yield Call(metrics.brier, probs, exact)
    yield Call(metrics.brier_decomposition, probs | {"num_bins": 5}, exact)
    for score in (metrics.ece, metrics.mce, metrics.reliability):
        yield Call(score, probs | {"num_bins": 5, "binning": "equal_mass"}, exact)
    yield Call(metrics.conformal_threshold, probs | {"alpha": 0.2}, exact)
    yield Call(
        metrics.prediction_sets,
        {"probs": PROBS, "threshold": 0.2},
        {"probs": f"{SAME}, a row less", "threshold": "zero"},
    )
    log_probs = {"log_probs": LOG_PROBS, "labels": LABELS}
    yield Call(metrics.nll, log_probs, {"log_probs": SAME})
    yield Call(metrics.fit_temperature, log_probs, {"log_probs": f"{SHIFTED}, -inf"})
    yield Call(
        metrics.tempered,
        {"log_probs": LOG_PROBS, "temperature": 2.0},
        {"log_probs": f"{SHIFTED}, -inf, an axis more, a row less, a column less, flat"},
    )
    samples = {"log_probs": LOG_SAMPLES, "log_weights": SHARES}
    kept = {"log_probs": f"{SAME}, an axis more", "log_weights": SAME}
    for function in (
        metrics.mean_log_probs,
        metrics.total_entropy,
        metrics.aleatoric_entropy,
        metrics.epistemic_entropy,
    ):
        yield Call(function, samples, {**kept, "log_probs": SAME})
        yield Call(
            function,
            {"log_probs": LOG_SAMPLES},
            {"log_probs": f"{SAME}, an axis more, a row less"},
            name=f"{function.__name__} of equal shares",
        )
    yield Call(metrics.joint_log_prob, samples | {"labels": LABELS}, {**kept, "log_probs": SAME})
    yield Call(
        metrics.batch_bald,
        {"log_probs": LOG_SAMPLES, "key": KEY, "num_chosen": 2, "num_configurations": 20},
        {"log_probs": f"{SAME}, a row less"},
    )
    mixture = {"means": SCORES, "scales": SCALES}
    yield Call(metrics.mixture_moments, mixture, {"means": SHIFTED, "scales": f"{SHIFTED}, zero"})
    yield Call(
        metrics.gaussian_mixture_interval,
        mixture | {"mass": 0.9},
        {"means": SHIFTED, "scales": f"{SAME}, doubled, huge"},
    )
    yield Call(
        metrics.gaussian_mixture_log_prob,
        mixture | {"y": SCORES[0], "axis": 0},
        {
            "means": SHIFTED,
            "scales": f"{SAME}, doubled, huge",
            "y": SHIFTED,
            "axis": "zero",
        },
    )
    yield Call(
        metrics.credible_interval,
        {"draws": SCORES, "mass": 0.9, "log_weights": SHARES},
        {"draws": f"{ORDER}, an axis more, a column less, flat", "log_weights": ORDER},
    )
    y = {"y": SCORES[0], "mean": SCORES[1]}
    yield Call(metrics.rmse, y, {"y": SHIFTED, "mean": SHIFTED})
    yield Call(
        metrics.crps_gaussian,
        y | {"scale": SCALES[0]},
        {"y": SHIFTED, "mean": SHIFTED, "scale": f"{SAME}, zero, doubled, booleans, huge"},
    )
    yield Call(
        metrics.crps,
        {"y": SCORES[0], "draws": SCORES},
        {"y": SHIFTED, "draws": f"{SHIFTED}, a row less"},
    )
    scores = {"scores_in": SCORES[0], "scores_out": SCORES[1]}
    for function in (metrics.auroc, metrics.aupr, metrics.fpr95):
        yield Call(function, scores, dict.fromkeys(scores, f"{ORDER}, a row less"))
    answers = {"uncertainty": SCORES[0], "correct": CORRECT}
    for function, more in (
        (metrics.risk_coverage, {}),
        (metrics.aurc, {}),
        (metrics.selective_accuracy, {"coverage": 0.5}),
    ):
        yield Call(function, answers | more, {"uncertainty": ORDER})
    for function in (metrics.agreement, metrics.total_variation, metrics.symmetric_kl):
        yield Call(function, {"p": PROBS, "q": OTHERS}, {"p": SAME, "q": SAME})
    yield Call(metrics.wasserstein, {"x": SCORES, "y": SCORES + 1}, {"x": SHIFTED, "y": SHIFTED})
    resamples = {"key": KEY, "mass": 0.9, "num_resamples": 5}
    yield Call(
        metrics.compare,
        {"p": PROBS, "reference": OTHERS, "labels": LABELS} | resamples,
        {"p": SAME, "reference": SAME},
    )
    yield Call(
        metrics.ceiling,
        {"chains": SAMPLES} | resamples,
        {"chains": f"{SAME}, a row less, a column less"},
    )
    yield Call(
        metrics.bootstrap,
        {"statistic": jnp.mean, "examples": (SCORES[0],)} | resamples,
        {"examples": "part *"},
        may_be_nan=True,
    )
    diverged = f"{ORDER}, NaN, all NaN, inf, -inf"
    for function in (metrics.rhat, metrics.ess, metrics.ess_tail):
        kept = f"{diverged}, an axis more, a row less, a column less"
        yield Call(function, {"x": CHAINS}, {"x": kept}, may_be_nan=True)
    kept = f"{diverged}, a row less, a column less"
    yield Call(metrics.ebfmi, {"energy": CHAINS}, {"energy": kept}, may_be_nan=True)
