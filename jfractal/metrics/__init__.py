"""Scores of predictions: arrays in, arrays out, without state."""

from jfractal.metrics.acquisition import batch_bald
from jfractal.metrics.agreement import (
    agreement,
    ceiling,
    compare,
    symmetric_kl,
    total_variation,
    wasserstein,
)
from jfractal.metrics.bootstrap import Estimate, bootstrap
from jfractal.metrics.brier import BrierParts, brier, brier_decomposition
from jfractal.metrics.calibration import Reliability, accuracy, ece, mce, nll, reliability
from jfractal.metrics.conformal import conformal_threshold, prediction_sets
from jfractal.metrics.convergence import ebfmi, ess, ess_tail, rhat
from jfractal.metrics.interval import Interval, credible_interval, gaussian_mixture_interval
from jfractal.metrics.ood import aupr, auroc, fpr95
from jfractal.metrics.regression import crps, crps_gaussian, rmse
from jfractal.metrics.selective import aurc, risk_coverage, selective_accuracy
from jfractal.metrics.temperature import fit_temperature, tempered
from jfractal.metrics.uncertainty import (
    MixtureMoments,
    aleatoric_entropy,
    epistemic_entropy,
    gaussian_mixture_log_prob,
    joint_log_prob,
    mean_log_probs,
    mixture_moments,
    total_entropy,
)

__all__ = [
    "BrierParts",
    "Estimate",
    "Interval",
    "MixtureMoments",
    "Reliability",
    "accuracy",
    "agreement",
    "aleatoric_entropy",
    "aupr",
    "aurc",
    "auroc",
    "batch_bald",
    "bootstrap",
    "brier",
    "brier_decomposition",
    "ceiling",
    "compare",
    "conformal_threshold",
    "credible_interval",
    "crps",
    "crps_gaussian",
    "ebfmi",
    "ece",
    "epistemic_entropy",
    "ess",
    "ess_tail",
    "fit_temperature",
    "fpr95",
    "gaussian_mixture_interval",
    "gaussian_mixture_log_prob",
    "joint_log_prob",
    "mce",
    "mean_log_probs",
    "mixture_moments",
    "nll",
    "prediction_sets",
    "reliability",
    "rhat",
    "risk_coverage",
    "rmse",
    "selective_accuracy",
    "symmetric_kl",
    "tempered",
    "total_entropy",
    "total_variation",
    "wasserstein",
]
