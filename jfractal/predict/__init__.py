"""Monte Carlo prediction: from a posterior over weights to a distribution over targets."""

from jfractal.predict.draws import sample_outputs as sample_outputs
from jfractal.predict.monte_carlo import predict as predict
