"""What an experiment found, and the self-contained page that shows it."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from flax.traverse_util import flatten_dict
from matplotlib.figure import Figure

from experiments.rows import Rows, mean_and_error
from jfractal import viz
from jfractal.data import ImageData, TableData, TextData

Cell = float | int | str | bool

LONGEST_LABEL = 40
"""Characters of a cell that stays on one line."""


@dataclass(frozen=True)
class Table:
    """A table: names of the columns, and rows of cells."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def holds_numbers(self, column: int) -> bool:
        """Whether there are numbers in a column, beside which `"-"` stands for none."""
        cells = {row[column] for row in self.rows} - {"-"}
        return bool(cells) and all(isinstance(cell, Real) for cell in cells)


@dataclass(frozen=True)
class Picture:
    """A figure and what it shows."""

    figure: Figure
    caption: str

    def png(self) -> bytes:
        """The figure as a file."""
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=150)
        return file.getvalue()


@dataclass(frozen=True)
class Section:
    """A part of the report: paragraphs (a blank line between two), a table, and pictures."""

    title: str
    text: str = ""
    table: Table | None = None
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Outcome:
    """What ``run`` of an experiment returns."""

    dataset: str
    """What was measured on."""
    dataset_requested: str
    """What was asked for."""
    rows: Rows
    """All figures."""
    sections: Sequence[Section] = field(default_factory=list)
    note: str = ""
    """What a reader should know about the data."""

    @classmethod
    def of(
        cls, source: ImageData | TableData | TextData, rows: Rows, *sections: Section
    ) -> "Outcome":
        """What was found in a set of data."""
        return cls(source.name, source.requested, rows, sections, source.note)

    @property
    def result(self) -> dict[str, Cell]:
        """The final figures, flat, as in result.json."""
        about = {"dataset": self.dataset, "dataset_requested": self.dataset_requested}
        return about | self.rows.figures()


# From rows to tables and pictures

LABELS = {
    "nll": "NLL (nats)",
    "nll_mixture": "NLL of the mixture (nats)",
    "rhat_median": "R-hat, median",
    "rhat_largest": "R-hat, largest",
    "rmse": "RMSE",
    "ece": "ECE",
    "auroc": "AUROC",
    "aupr": "AUPR",
    "fpr95": "FPR95",
    "aurc": "AURC",
    "depth": "convolutions in series",
    "mflops": "MFLOP an example",
    "latency_ms": "latency (ms)",
    "num_params": "parameters",
    "kl": "KL to the prior (nats)",
    "w2": "W2",
    "w2_with_data": "W2 to NUTS, with data",
    "w2_without_data": "W2 to NUTS, without",
    "symmetric_kl": "symmetric KL (nats)",
    "gradients": "full gradients",
    "error_percent": "test error (%)",
    "validation_error_percent": "validation error (%)",
    "log_likelihood": "log likelihood (nats)",
}
"""What figures are called that are not called by their name in the rows."""


def label(name: str) -> str:
    """What a figure or field is called in tables and on axes: ``mean_accuracy``, mean accuracy."""
    return LABELS.get(name, name.replace("_", " "))


def table(
    rows: Rows,
    metrics: Sequence[str] | Mapping[str, str],
    *,
    by: Sequence[str] = ("method",),
    across: str | None = None,
    digits: int = 4,
) -> Table:
    """A row for each combination of `by`; a column for each metric, at each level of `across`.

    Args:
        rows: Where the figures are taken from.
        metrics: Their names in the rows; in a mapping, with those in the table.
        by: Fields that label the rows of the table.
        across: A field whose levels stand side by side.
        digits: After the point.
    """
    names = metrics if isinstance(metrics, Mapping) else {of: label(of) for of in metrics}
    names = {of: name for of, name in names.items() if of in rows.levels("metric")}
    columns = [(level, of) for level in (rows.levels(across) if across else [None]) for of in names]
    has_metric = [row for row in rows if row["metric"] in names]
    cells = []
    for place in dict.fromkeys(tuple(row.get(name) for name in by) for row in has_metric):
        line: list[Cell] = ["-" if part is None else part for part in place]
        for level, of in columns:
            here = dict(zip(by, place)) | ({across: level} if across else {})
            ends = [rows.values(f"{of}_{end}", **here) for end in ("lower", "upper")]
            line.append(shown(rows.values(of, **here), digits, np.concatenate(ends)))
        cells.append(line)
    lone = len(names) == 1
    titles = [
        names[of] if level is None else f"{level}" if lone else f"{level}, {names[of]}"
        for level, of in columns
    ]
    return Table([*map(label, by), *titles], cells)


def shown(values: np.ndarray, digits: int = 4, interval: Sequence[float] | np.ndarray = ()) -> Cell:
    """A figure of one repetition as it is; of several, the mean ± its standard error."""
    if len(values) == 0:
        return "-"
    if len(values) == 1 and len(interval) == 2:
        return "{:.{d}f} ({:.{d}f}–{:.{d}f})".format(*values, *interval, d=digits)
    if len(values) == 1 or isinstance(values[0], str):
        value = values[0].item()
        return round(value, digits) if isinstance(value, float) else value
    return " ± ".join(f"{number:.{digits}f}" for number in mean_and_error(values))


def curves(
    rows: Rows,
    x: str,
    y: str,
    *,
    by: str = "method",
    xlabel: str = "",
    ylabel: str = "",
    caption: str = "",
    log10: bool = False,
    **options: Any,
) -> Picture:
    """A metric against a field or another metric: a curve for each level of a third.

    Repetitions are averaged, with a band of ± one standard error.

    Args:
        rows: Where the figures are taken from.
        x: Field or metric on the horizontal axis.
        y: Metric on the vertical axis.
        by: Field that tells the curves apart.
        xlabel: What `x` is, with its unit; by default its `label`.
        ylabel: The same of `y`.
        caption: What the picture shows.
        log10: Whether `x` is shown by its logarithm.
        **options: Those of `viz.curves`.
    """
    series, ylabel = {}, ylabel or label(y)
    xlabel = f"log10 of {xlabel or label(x)}" if log10 else xlabel or label(x)
    for level in rows.levels(by):
        values: dict[Any, list[float]] = {}
        for record in rows.where(**{by: level}).records():
            if x in record and y in record:
                values.setdefault(record[x], []).append(record[y])
        if values:
            places = sorted(values)
            means, errors = zip(*(mean_and_error(values[place]) for place in places))
            places = np.log10(places).tolist() if log10 else places
            parts = (places, list(means), list(errors)) if any(errors) else (places, list(means))
            series[str(level)] = parts
    figure = viz.curves(series, xlabel=xlabel, ylabel=ylabel, **options)
    return Picture(figure, caption or f"{ylabel[:1].upper()}{ylabel[1:]} against {xlabel}.")


def intervals(
    rows: Rows, metric: str, *, by: str = "method", xlabel: str = "", caption: str = ""
) -> Picture:
    """A metric of each level of a field: its mean over repetitions ± its standard error."""
    xlabel = xlabel or f"{label(metric)}, mean ± standard error"
    points = {
        level: mean_and_error(values)
        for level in rows.levels(by)
        if len(values := rows.values(metric, **{by: level}))
    }
    figure = viz.intervals(points, xlabel=xlabel)
    return Picture(figure, caption or f"{xlabel[:1].upper()}{xlabel[1:]}.")


# The page


def render(
    note: str, record: Mapping[str, Any], about: Mapping[str, Cell], outcome: Outcome
) -> str:
    """The report as one HTML page that needs no other file.

    Args:
        note: the lab note, i.e. the experiment's docstring.
        record: the content of config.json.
        about: what ran: ``name``, ``preset``, ``seed``, ``device``, ``seconds``, ``resumed``.
        outcome: what came out.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.tests["numeric"] = lambda value: isinstance(value, Real)
    environment.tests["prose"] = lambda cell: len(str(cell)) > LONGEST_LABEL
    environment.tests["a_version_of"] = is_version
    environment.filters["show"] = show
    environment.filters["png"] = lambda picture: base64.b64encode(picture.png()).decode()
    return environment.get_template("report.html.jinja").render(
        note=note.strip(),
        record=record,
        about=about,
        result=outcome.result,
        data_note=outcome.note,
        sections=outcome.sections,
        settings=flatten_dict(record["config"], sep="."),
    )


def is_version(dataset: str, requested: str) -> bool:
    """Whether a data set is the requested one with departures, ``CIFAR-10 (JPEG copy)``."""
    letters = lambda name: "".join(filter(str.isalnum, name.lower()))
    return letters(dataset).startswith(letters(requested))


def show(value: Cell) -> str:
    """A value as people read it: four significant digits, thousands apart, yes or no."""
    match value:
        case bool():
            return "yes" if value else "no"
        case Integral():
            return f"{value:,}"
        case Real():
            return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"
        case _:
            return str(value)
