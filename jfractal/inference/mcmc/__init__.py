"""Markov chains over all data: the reference for every other posterior."""

from jfractal.inference.mcmc.chains import Chains as Chains
from jfractal.inference.mcmc.diagnosis import Diagnosis as Diagnosis
from jfractal.inference.mcmc.hamiltonian import hmc as hmc
from jfractal.inference.mcmc.hamiltonian import nuts as nuts
from jfractal.inference.mcmc.hamiltonian import quarter_period as quarter_period
from jfractal.inference.mcmc.microcanonical import adjusted_mclmc as adjusted_mclmc
from jfractal.inference.mcmc.microcanonical import mclmc as mclmc
from jfractal.inference.mcmc.plan import Precision as Precision
from jfractal.inference.mcmc.starts import Starts as Starts
