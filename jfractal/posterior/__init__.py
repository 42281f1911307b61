"""Distributions over the weights of a net, as trees."""

from jfractal.posterior.dropout import Dropout as Dropout
from jfractal.posterior.factor_gaussian import FactorGaussian as FactorGaussian
from jfractal.posterior.gaussian import Gaussian as Gaussian
from jfractal.posterior.gaussian import mean as mean
from jfractal.posterior.gaussian import mean_field as mean_field
from jfractal.posterior.gaussian import sample as sample
from jfractal.posterior.gaussian import variance as variance
from jfractal.posterior.kronecker_gaussian import KroneckerGaussian as KroneckerGaussian
from jfractal.posterior.laplace import Laplace as Laplace
from jfractal.posterior.linear import linearize as linearize
from jfractal.posterior.posterior import Posterior as Posterior
from jfractal.posterior.pruning import group_snr as group_snr
from jfractal.posterior.pruning import prune as prune
from jfractal.posterior.pruning import snr as snr
from jfractal.posterior.pruning import unit_snr as unit_snr
from jfractal.posterior.routes import Routes as Routes
from jfractal.posterior.samples import Ensemble as Ensemble
from jfractal.posterior.samples import MeanField as MeanField
from jfractal.posterior.samples import Point as Point
from jfractal.posterior.samples import Samples as Samples
