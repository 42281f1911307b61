"""Scores of predictions: arrays in, arrays out, without state."""

from jfractal.metrics.acquisition import batch_bald
from jfractal.metrics.agreement import agreement, total_variation, wasserstein
from jfractal.metrics.calibration import Reliability, accuracy, brier, ece, nll, reliability
from jfractal.metrics.conformal import conformal_threshold, prediction_sets
from jfractal.metrics.convergence import ess, rhat
from jfractal.metrics.ood import auroc, fpr95
from jfractal.metrics.uncertainty import (
    MixtureMoments,
    aleatoric_entropy,
    epistemic_entropy,
    gaussian_mixture_log_prob,
    mean_log_probs,
    mixture_moments,
    total_entropy,
)

__all__ = [
    "MixtureMoments",
    "Reliability",
    "accuracy",
    "agreement",
    "aleatoric_entropy",
    "auroc",
    "batch_bald",
    "brier",
    "conformal_threshold",
    "ece",
    "epistemic_entropy",
    "ess",
    "fpr95",
    "gaussian_mixture_log_prob",
    "mean_log_probs",
    "mixture_moments",
    "nll",
    "prediction_sets",
    "reliability",
    "rhat",
    "total_entropy",
    "total_variation",
    "wasserstein",
]
