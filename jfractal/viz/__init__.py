"""Pictures: every function returns a `matplotlib.figure.Figure` and needs no display."""

from jfractal.viz.bands import Band, predictive_bands
from jfractal.viz.curves import curves
from jfractal.viz.histograms import score_histograms
from jfractal.viz.intervals import intervals
from jfractal.viz.reliability import reliability_diagram
from jfractal.viz.structure import structure

__all__ = [
    "Band",
    "curves",
    "intervals",
    "predictive_bands",
    "reliability_diagram",
    "score_histograms",
    "structure",
]
