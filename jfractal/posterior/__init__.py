"""Distributions over the weights of a net, as trees."""

from jfractal.posterior import likelihoods as likelihoods
from jfractal.posterior import priors as priors
from jfractal.posterior.divergence import kl as kl
from jfractal.posterior.gaussian import Gaussian as Gaussian
from jfractal.posterior.gaussian import mean as mean
from jfractal.posterior.gaussian import mean_field as mean_field
from jfractal.posterior.gaussian import sample as sample
from jfractal.posterior.routes import Routes as Routes
from jfractal.posterior.samples import MeanField as MeanField
from jfractal.posterior.samples import Point as Point
from jfractal.posterior.samples import Posterior as Posterior
from jfractal.posterior.samples import Samples as Samples
