"""Pictures: every function returns a `matplotlib.figure.Figure` and needs no display."""

from jfractal.viz.bands import Band, predictive_bands
from jfractal.viz.coverage import accuracy_coverage
from jfractal.viz.curves import curves
from jfractal.viz.extremes import extremes
from jfractal.viz.histograms import score_histograms
from jfractal.viz.intervals import intervals
from jfractal.viz.rank_histograms import rank_histograms
from jfractal.viz.reliability import reliability_diagram
from jfractal.viz.spread import posterior_spread
from jfractal.viz.structure import structure
from jfractal.viz.traces import ranks, traces

__all__ = [
    "Band",
    "accuracy_coverage",
    "curves",
    "extremes",
    "intervals",
    "posterior_spread",
    "predictive_bands",
    "rank_histograms",
    "ranks",
    "reliability_diagram",
    "score_histograms",
    "structure",
    "traces",
]
