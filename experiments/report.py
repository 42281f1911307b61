"""What an experiment found, and the self-contained page that shows it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import jinja2
from flax.traverse_util import flatten_dict

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
class Section:
    """A part of the report: paragraphs (a blank line between two), a table, and pictures."""

    title: str
    text: str = ""
    table: Table | None = None
    figures: Sequence[tuple[str, str]] = ()
    """Pairs of a name that `Run.figure` returned and a caption."""


@dataclass(frozen=True)
class Outcome:
    """What ``run`` of an experiment returns."""

    result: Mapping[str, Cell]
    """The final figures, flat, and what they were measured on: ``dataset``, where
    ``dataset_requested`` is what was asked for."""
    sections: Sequence[Section] = ()

    def __post_init__(self):
        if missing := {"dataset", "dataset_requested"} - self.result.keys():
            raise KeyError(f"the result lacks {', '.join(sorted(missing))}")


def render(
    note: str,
    record: Mapping[str, Any],
    about: Mapping[str, Cell],
    outcome: Outcome,
    figures: Path,
) -> str:
    """The report as one HTML page that needs no other file.

    Args:
        note: the lab note, i.e. the experiment's docstring.
        record: the content of config.json.
        about: what ran: ``name``, ``preset``, ``seed``, ``device``, ``seconds``, ``resumed``.
        outcome: what came out.
        figures: the folder of the pictures, which are put into the page.
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
    environment.filters["png"] = lambda name: _base64(figures / f"{name}.png")
    return environment.get_template("report.html.jinja").render(
        note=note.strip(),
        record=record,
        about=about,
        result=outcome.result,
        sections=outcome.sections,
        settings=flatten_dict(record["config"], sep="."),
    )


def is_version(dataset: str, requested: str) -> bool:
    """Whether a data set is the requested one with departures, ``CIFAR-10 (JPEG copy)``."""
    letters = lambda name: "".join(filter(str.isalnum, name.lower()))
    return letters(dataset).startswith(letters(requested))


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


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
