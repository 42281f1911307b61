"""Predictions of a posterior: mixtures over draws of the weights, for every kind of target."""

from jfractal.predictions.binary import BinaryPrediction as BinaryPrediction
from jfractal.predictions.classification import Prediction as Prediction
from jfractal.predictions.mixture import Mixture as Mixture
from jfractal.predictions.mixture import mixture as mixture
from jfractal.predictions.regression import RegressionPrediction as RegressionPrediction
