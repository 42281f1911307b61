"""The training loop around a method: batches, progress, validation, checkpoints, devices."""

from jfractal.training.callbacks import TensorBoard as TensorBoard
from jfractal.training.callbacks import WeightsAndBiases as WeightsAndBiases
from jfractal.training.fit import Fit as Fit
from jfractal.training.fit import fit as fit
from jfractal.training.history import History as History
from jfractal.training.loop import scan as scan
from jfractal.training.statistics import recalibrate as recalibrate
from jfractal.training.validation import validate as validate
