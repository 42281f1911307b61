"""Flax modules: Bayesian layers, units, the block that runs an expression, and nets."""

from jfractal.nn.bayes import LOG_VARIANCE as LOG_VARIANCE
from jfractal.nn.bayes import BayesConv as BayesConv
from jfractal.nn.bayes import BayesDense as BayesDense
from jfractal.nn.bayes import BayesEmbed as BayesEmbed
from jfractal.nn.bayes import Conv as Conv
from jfractal.nn.block import Block as Block
from jfractal.nn.block_net import BlockNet as BlockNet
from jfractal.nn.extraction import extract as extract
from jfractal.nn.fast import fast as fast
from jfractal.nn.nets import DenseNet as DenseNet
from jfractal.nn.nets import FractalNet as FractalNet
from jfractal.nn.nets import PlainNet as PlainNet
from jfractal.nn.nets import ResNet as ResNet
from jfractal.nn.nets import block_net as block_net
from jfractal.nn.noise import LearnedNoise as LearnedNoise
from jfractal.nn.surgery import keep_columns as keep_columns
from jfractal.nn.surgery import path_snr as path_snr
from jfractal.nn.surgery import prune_paths as prune_paths
from jfractal.nn.surgery import prune_units as prune_units
from jfractal.nn.text_net import TextNet as TextNet
from jfractal.nn.units import ConvUnit as ConvUnit
from jfractal.nn.units import DenseUnit as DenseUnit
from jfractal.nn.units import SeparableUnit as SeparableUnit
