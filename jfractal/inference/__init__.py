"""From a model and data to a posterior: one file a method, all ending in ``sample(key)``."""

from jfractal.inference.chains import Chains as Chains
from jfractal.inference.chains import Diagnosis as Diagnosis
from jfractal.inference.elbo import Elbo as Elbo
from jfractal.inference.elbo import elbo as elbo
from jfractal.inference.ensemble import ensemble as ensemble
from jfractal.inference.hmc import hmc as hmc
from jfractal.inference.hmc import nuts as nuts
from jfractal.inference.hmc import quarter_period as quarter_period
from jfractal.inference.ivon import ivon as ivon
from jfractal.inference.laplace import diagonal_laplace as diagonal_laplace
from jfractal.inference.laplace import laplace as laplace
from jfractal.inference.log_joint import LogJoint as LogJoint
from jfractal.inference.maximum_a_posteriori import maximum_a_posteriori as maximum_a_posteriori
from jfractal.inference.mc_dropout import mc_dropout as mc_dropout
from jfractal.inference.sampler import Precision as Precision
from jfractal.inference.sgmcmc import cosine_cycles as cosine_cycles
from jfractal.inference.sgmcmc import sghmc as sghmc
from jfractal.inference.sgmcmc import sgld as sgld
from jfractal.inference.sub_networks import SubNetworks as SubNetworks
from jfractal.inference.sub_networks import all_sub_networks as all_sub_networks
from jfractal.inference.sub_networks import mc_drop_path as mc_drop_path
from jfractal.inference.sub_networks import sub_networks as sub_networks
from jfractal.inference.swag import swag as swag
from jfractal.inference.variational import variational as variational
