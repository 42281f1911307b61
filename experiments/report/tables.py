"""From rows to the tables and pictures of a report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.report.outcome import Picture, Table
from experiments.report.words import Cell, label
from experiments.rows import Rows, mean_and_error
from jfractal import viz


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
    """A figure of one repetition, or alike in all, as it is; of others, mean ± standard error."""
    if len(values) == 0:
        return "-"
    if len(set(values)) == 1:
        values = values[:1]
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
