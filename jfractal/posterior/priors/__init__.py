"""Priors over weights: of one array, of a tree by path, or any NumPyro distribution."""

from jfractal.posterior.priors.distribution import Distribution as Distribution
from jfractal.posterior.priors.distribution import PriorLike as PriorLike
from jfractal.posterior.priors.distribution import as_prior as as_prior
from jfractal.posterior.priors.elementwise import Cauchy as Cauchy
from jfractal.posterior.priors.elementwise import Flat as Flat
from jfractal.posterior.priors.elementwise import Gaussian as Gaussian
from jfractal.posterior.priors.elementwise import HorseshoeLike as HorseshoeLike
from jfractal.posterior.priors.elementwise import Laplace as Laplace
from jfractal.posterior.priors.elementwise import ScaleMixture as ScaleMixture
from jfractal.posterior.priors.elementwise import StudentT as StudentT
from jfractal.posterior.priors.prior import Prior as Prior
from jfractal.posterior.priors.scale import EmpiricalBayes as EmpiricalBayes
from jfractal.posterior.priors.scale import HierarchicalScale as HierarchicalScale
from jfractal.posterior.priors.tree import ByPath as ByPath
from jfractal.posterior.priors.tree import CentredOn as CentredOn
from jfractal.posterior.priors.tree import FanIn as FanIn
