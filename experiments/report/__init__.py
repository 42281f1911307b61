"""Reports: what a run found, as a page of its own, and all runs on one page."""

from experiments.report.finding import Finding, highest, lowest, sentence
from experiments.report.outcome import Outcome, Picture, Section, Table
from experiments.report.page import is_version, render, render_sweep
from experiments.report.tables import curves, intervals, shown, table
from experiments.report.words import Cell, label, show

__all__ = [
    "Cell",
    "Finding",
    "Outcome",
    "Picture",
    "Section",
    "Table",
    "curves",
    "highest",
    "intervals",
    "is_version",
    "label",
    "lowest",
    "render",
    "render_sweep",
    "sentence",
    "show",
    "shown",
    "table",
]
