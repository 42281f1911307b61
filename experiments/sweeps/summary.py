"""What the members of a sweep found, averaged over seeds."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.report import Table, label, show
from experiments.rows import REPLICATES, mean_and_error
from experiments.sweeps.grid import Member
from jfractal.errors import InputError

Row = dict[str, Any]
BOUNDS = ("_lower", "_upper")


def tidy(members: Iterable[tuple[Member, Path]]) -> list[Row]:
    """The rows of members that are done, each with its cell of the grid and its ``member``.

    A row that has a ``seed`` of its own keeps it: that of a repetition within the member.

    Args:
        members: Members and their directories.

    Raises:
        InputError: The rows of one cannot be read.
    """
    rows = []
    for member, place in members:
        path = place / "rows.jsonl"
        cell = {field: value for field, value in member.values.items() if field != "seed"}
        try:
            found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            rows += [
                {"member": member.label, "seed": member.values["seed"], **row, **cell}
                for row in found
            ]
        except (OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"the rows in {path} are damaged ({reason})") from error
    return rows


def table(rows: Sequence[Row], grid: Iterable[str]) -> Table:
    """Mean ± standard error of every figure, those of one kind below each other.

    Repetitions within a member are averaged first, since they share what its seed decides; only
    where a member stands alone the error is over them.

    Args:
        rows: As from `tidy`.
        grid: The fields of the grid, which stand last.

    Returns:
        A table with a line for each figure and cell, and the number of values that it is a mean of.
    """
    grid = [*grid]
    values: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    names = ["metric", *_fields(rows, grid), *grid]
    metrics = {row["metric"] for row in rows}
    for row in rows:
        if row["metric"].rpartition("_")[0] in metrics and row["metric"].endswith(BOUNDS):
            continue  # of an interval within one run; the error is over runs
        if isinstance(row["value"], int | float) and not isinstance(row["value"], bool):
            place = tuple(row.get(name) for name in names)
            values.setdefault(place, {}).setdefault(row["member"], []).append(row["value"])
    lines = []
    for place in _sorted(values, len(names) - len(grid)):
        of_members = [*values[place].values()]
        several = len(of_members) > 1
        means = [float(np.mean(v)) for v in of_members] if several else of_members[0]
        metric, *fields = place
        shown = ["-" if part is None else part for part in fields]
        lines.append([label(metric), *shown, _shown(means), len(means)])
    return Table(["figure", *map(label, names[1:]), "mean ± standard error", "n"], lines)


def _fields(rows: Sequence[Row], grid: Iterable[str]) -> list[str]:
    """The fields that tell figures of one member apart."""
    others = {"member", "metric", "value", *REPLICATES, *grid}
    return [
        name for name in dict.fromkeys(name for row in rows for name in row) if name not in others
    ]


def _sorted(places: Mapping[tuple[Any, ...], Any], num_fields: int) -> list[tuple[Any, ...]]:
    """Figures in the order in which they first came, cells of the grid within."""
    kinds = {place[:num_fields]: i for i, place in reversed([*enumerate(places)])}
    return sorted(places, key=lambda place: kinds[place[:num_fields]])


def _shown(values: list[float]) -> str:
    mean, error = mean_and_error(values)
    return f"{show(mean)} ± {error:.2g}" if len(values) > 1 else show(mean)


def markdown(content: Table) -> str:
    """A table as Markdown, which a terminal shows in columns too."""
    cells = [[show(cell) for cell in row] for row in [content.columns, *content.rows]]
    widths = [max(map(len, column)) for column in zip(*cells)]
    head, *body = (
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
        for row in cells
    )
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([head, rule, *body]) + "\n"
