"""Flax modules: Bayesian layers, units, the block that runs an expression, nets."""

from jfractal.nn.bayes import BayesConv as BayesConv
from jfractal.nn.bayes import BayesDense as BayesDense
from jfractal.nn.bayes import Conv as Conv
from jfractal.nn.block import Block as Block
from jfractal.nn.nets import BlockNet as BlockNet
from jfractal.nn.nets import FractalNet as FractalNet
from jfractal.nn.nets import PlainNet as PlainNet
from jfractal.nn.units import ConvUnit as ConvUnit
