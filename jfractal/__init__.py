"""jfractal: Bayesian deep learning on fractal architectures, in JAX."""

import importlib
from typing import TYPE_CHECKING, Any

from jfractal import anytime as anytime
from jfractal import data as data
from jfractal import inference as inference
from jfractal import likelihoods as likelihoods
from jfractal import metrics as metrics
from jfractal import nn as nn
from jfractal import ops as ops
from jfractal import priors as priors
from jfractal import reference as reference
from jfractal import topology as topology
from jfractal import training as training
from jfractal.bibliography import citation as citation
from jfractal.errors import DivergenceError as DivergenceError
from jfractal.errors import InputError as InputError
from jfractal.inference import Chains as Chains
from jfractal.inference import FractalModel as FractalModel
from jfractal.inference import Method as Method
from jfractal.inference import Model as Model
from jfractal.inference import adjusted_mclmc as adjusted_mclmc
from jfractal.inference import cosine_cycles as cosine_cycles
from jfractal.inference import dropout as dropout
from jfractal.inference import elbo as elbo
from jfractal.inference import ensemble as ensemble
from jfractal.inference import fractal_model as fractal_model
from jfractal.inference import hmc as hmc
from jfractal.inference import ivon as ivon
from jfractal.inference import laplace as laplace
from jfractal.inference import maximum_a_posteriori as maximum_a_posteriori
from jfractal.inference import mc_drop_path as mc_drop_path
from jfractal.inference import mc_dropout as mc_dropout
from jfractal.inference import mclmc as mclmc
from jfractal.inference import nuts as nuts
from jfractal.inference import sghmc as sghmc
from jfractal.inference import sgld as sgld
from jfractal.inference import smile as smile
from jfractal.inference import sub_networks as sub_networks
from jfractal.inference import swag as swag
from jfractal.inference import variational as variational
from jfractal.nn import BayesConv as BayesConv
from jfractal.nn import BayesDense as BayesDense
from jfractal.nn import BayesEmbed as BayesEmbed
from jfractal.nn import DenseNet as DenseNet
from jfractal.nn import FractalNet as FractalNet
from jfractal.nn import PlainNet as PlainNet
from jfractal.nn import ResNet as ResNet
from jfractal.nn import TextNet as TextNet
from jfractal.nn import extract as extract
from jfractal.posterior import Dropout as Dropout
from jfractal.posterior import Ensemble as Ensemble
from jfractal.posterior import FactorGaussian as FactorGaussian
from jfractal.posterior import Gaussian as Gaussian
from jfractal.posterior import KroneckerGaussian as KroneckerGaussian
from jfractal.posterior import Laplace as Laplace
from jfractal.posterior import MeanField as MeanField
from jfractal.posterior import Point as Point
from jfractal.posterior import Posterior as Posterior
from jfractal.posterior import Routes as Routes
from jfractal.posterior import Samples as Samples
from jfractal.posterior import linearize as linearize
from jfractal.posterior import mean as mean
from jfractal.posterior import mean_field as mean_field
from jfractal.posterior import prune as prune
from jfractal.posterior import sample as sample
from jfractal.posterior import snr as snr
from jfractal.posterior import variance as variance
from jfractal.predict import predict as predict
from jfractal.predict import sample_outputs as sample_outputs
from jfractal.predictions import BinaryPrediction as BinaryPrediction
from jfractal.predictions import Mixture as Mixture
from jfractal.predictions import Prediction as Prediction
from jfractal.predictions import RegressionPrediction as RegressionPrediction
from jfractal.predictions import mixture as mixture
from jfractal.priors import kl as kl
from jfractal.priors import kl_by_leaf as kl_by_leaf
from jfractal.storage import load as load
from jfractal.training import Fit as Fit
from jfractal.training import fit as fit

if TYPE_CHECKING:
    from jfractal import testing as testing
    from jfractal import viz as viz

__version__ = "0.1.0"

# What brings Matplotlib or SciPy's distributions comes when it is first used: `import jfractal`
# would take half as long again.
LATER = {"testing", "viz"}


def __getattr__(name: str) -> Any:
    if name in LATER:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *LATER})
