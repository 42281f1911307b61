"""Monte Carlo prediction: from a posterior over weights to a distribution over targets."""

from jfractal.predict.classification import Prediction as Prediction
from jfractal.predict.classification import mixture as mixture
from jfractal.predict.classification import predict as predict
from jfractal.predict.draws import sample_outputs as sample_outputs
from jfractal.predict.linear import linearize as linearize
from jfractal.predict.regression import RegressionPrediction as RegressionPrediction
from jfractal.predict.regression import predict_regression as predict_regression
