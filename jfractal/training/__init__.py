"""The loop around a method: batches, progress, checkpoints."""

from jfractal.training.statistics import recalibrate as recalibrate
