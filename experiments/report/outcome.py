"""What an experiment found: rows, and the sections of its report."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real

from matplotlib.figure import Figure

from experiments.report.words import Cell, aligned
from experiments.rows import Rows
from jfractal.data import ImageData, TableData, TextData

MEASURED = re.compile(r"−?-?[\d.]+ (± [\d.]+|\(.+–.+\))")


@dataclass(frozen=True)
class Table:
    """A table: names of the columns, and rows of cells."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def holds_numbers(self, column: int) -> bool:
        """Whether there are numbers in a column, beside which `"-"` stands for none."""
        cells = {row[column] for row in self.rows} - {"-"}
        is_number = lambda cell: isinstance(cell, Real) or MEASURED.fullmatch(cell)
        return bool(cells) and all(map(is_number, cells))

    @property
    def texts(self) -> list[list[str]]:
        """What the cells show, row by row."""
        columns = [aligned(column) for column in zip(*self.rows)]
        return [list(row) for row in zip(*columns)]


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
