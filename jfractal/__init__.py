"""jfractal: Bayesian deep learning on fractal architectures, in JAX."""

from jfractal import anytime as anytime
from jfractal import data as data
from jfractal import inference as inference
from jfractal import metrics as metrics
from jfractal import nn as nn
from jfractal import ops as ops
from jfractal import topology as topology
from jfractal import training as training
from jfractal import viz as viz
from jfractal.errors import DivergenceError as DivergenceError
from jfractal.errors import InputError as InputError
from jfractal.inference import Chains as Chains
from jfractal.inference import LogJoint as LogJoint
from jfractal.inference import elbo as elbo
from jfractal.inference import hmc as hmc
from jfractal.inference import maximum_a_posteriori as maximum_a_posteriori
from jfractal.inference import nuts as nuts
from jfractal.inference import variational as variational
from jfractal.nn import BayesConv as BayesConv
from jfractal.nn import BayesDense as BayesDense
from jfractal.nn import DenseNet as DenseNet
from jfractal.nn import FractalNet as FractalNet
from jfractal.nn import PlainNet as PlainNet
from jfractal.nn import ResNet as ResNet
from jfractal.nn import TextNet as TextNet
from jfractal.nn import extract as extract
from jfractal.posterior import Gaussian as Gaussian
from jfractal.posterior import MeanField as MeanField
from jfractal.posterior import Point as Point
from jfractal.posterior import Posterior as Posterior
from jfractal.posterior import Routes as Routes
from jfractal.posterior import Samples as Samples
from jfractal.posterior import kl as kl
from jfractal.posterior import likelihoods as likelihoods
from jfractal.posterior import mean as mean
from jfractal.posterior import mean_field as mean_field
from jfractal.posterior import priors as priors
from jfractal.posterior import sample as sample
from jfractal.predict import Prediction as Prediction
from jfractal.predict import mixture as mixture
from jfractal.predict import predict as predict
from jfractal.predict import sample_outputs as sample_outputs

__version__ = "0.1.0"
