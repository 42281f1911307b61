"""Priors over weights: for one array, for a tree by path, or any NumPyro distribution."""

from jfractal.priors.distribution import Distribution as Distribution
from jfractal.priors.distribution import PriorLike as PriorLike
from jfractal.priors.distribution import as_prior as as_prior
from jfractal.priors.divergence import kl as kl
from jfractal.priors.divergence import kl_by_leaf as kl_by_leaf
from jfractal.priors.elementwise import Cauchy as Cauchy
from jfractal.priors.elementwise import Flat as Flat
from jfractal.priors.elementwise import Gaussian as Gaussian
from jfractal.priors.elementwise import HorseshoeLike as HorseshoeLike
from jfractal.priors.elementwise import Laplace as Laplace
from jfractal.priors.elementwise import ScaleMixture as ScaleMixture
from jfractal.priors.elementwise import StudentT as StudentT
from jfractal.priors.prior import Prior as Prior
from jfractal.priors.scale import EmpiricalBayes as EmpiricalBayes
from jfractal.priors.scale import HierarchicalScale as HierarchicalScale
from jfractal.priors.tree import ByPath as ByPath
from jfractal.priors.tree import CentredOn as CentredOn
from jfractal.priors.tree import FanIn as FanIn
