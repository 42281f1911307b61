"""From a model and data to a posterior: one file a method, all ending in ``sample(key)``."""

from jfractal.inference.elbo import Elbo as Elbo
from jfractal.inference.elbo import elbo as elbo
from jfractal.inference.hmc import Chains as Chains
from jfractal.inference.hmc import hmc as hmc
from jfractal.inference.hmc import nuts as nuts
from jfractal.inference.log_joint import LogJoint as LogJoint
from jfractal.inference.maximum_a_posteriori import maximum_a_posteriori as maximum_a_posteriori
from jfractal.inference.sub_networks import SubNetworks as SubNetworks
from jfractal.inference.sub_networks import all_sub_networks as all_sub_networks
from jfractal.inference.sub_networks import sub_networks as sub_networks
from jfractal.inference.variational import variational as variational
