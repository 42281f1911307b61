"""Likelihoods: the log probability of targets given the outputs of a net."""

from jfractal.likelihoods.classes import Bernoulli as Bernoulli
from jfractal.likelihoods.classes import Categorical as Categorical
from jfractal.likelihoods.dirichlet import Dirichlet as Dirichlet
from jfractal.likelihoods.gaussian import Gaussian as Gaussian
from jfractal.likelihoods.gaussian import HeteroscedasticGaussian as HeteroscedasticGaussian
from jfractal.likelihoods.likelihood import Likelihood as Likelihood
from jfractal.likelihoods.likelihood import check_likelihood as check_likelihood
from jfractal.likelihoods.likelihood import per_example as per_example
