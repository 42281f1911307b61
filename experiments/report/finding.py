"""What a run found, as one sentence that is made from its rows."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from experiments.report.words import label, listed, named
from experiments.rows import REPLICATES, Rows, mean_and_error

Finding: TypeAlias = Callable[[Rows], str]
"""From the rows of a run to what they say: ``the highest accuracy is 85.9 % (whole net), ...``."""

SHARES = {"accuracy", "mean_accuracy", "selective_accuracy", "agreement", "error"}
"""Figures that are said in percent."""
MOST = 4
"""Levels that are all named."""


def sentence(finding: Finding, dataset: str, rows: Rows) -> str:
    """What was found, on which data; and if the reference is none, that too."""
    doubt = "; NUTS has NOT converged, so it is no reference"
    converged = all(rows.values("converged"))
    return f"On {dataset}, {finding(rows)}{'' if converged else doubt}."


def highest(metric: str, *by: str, **options: Any) -> Finding:
    """A finding: where a metric is highest. Options are those of `ranking`."""
    return partial(ranking, metric=metric, by=by, superlative="highest", **options)


def lowest(metric: str, *by: str, **options: Any) -> Finding:
    """A finding: where a metric is lowest. Options are those of `ranking`."""
    return partial(ranking, metric=metric, by=by, superlative="lowest", **options)


def ranking(
    rows: Rows,
    *,
    metric: str,
    by: Iterable[str],
    superlative: str,
    of: str = "",
    per: str | None = None,
    where: Mapping[str, Any] | None = None,
    without: Iterable[Any] = (),
) -> str:
    """Where a metric is highest or lowest, and how far the others are.

    Figures that differ by seed or split are averaged first. Of several figures at a level, the best
    stands for it.

    Args:
        rows: Where the figures are taken from.
        metric: Its name in the rows.
        by: Fields whose levels compete.
        superlative: ``highest`` or ``lowest``.
        of: What the metric is called, if not by its `label`.
        per: A field at each level of which there is a winner of its own.
        where: Values of fields, to leave out other rows.
        without: Levels that do not compete.
    """
    by, what = tuple(by), of or label(metric).partition(" (")[0]
    held = [
        row
        for row in rows.where(metric=metric, **(where or {}))
        if all(field in row and row[field] not in without for field in by)
    ]
    if not held:
        return f"no {what} was measured"
    if per is None:
        return f"the {superlative} {what} is {_ranks(held, by, superlative)}"
    winners = []
    for level in dict.fromkeys(row.get(per) for row in held):
        place, *_ = _places([row for row in held if row.get(per) == level], by, superlative)
        winners.append(f"{_winner(place)} for {named({per: level})}")
    return f"the {superlative} {what} is {listed(winners)}"


Place: TypeAlias = tuple[list[str], str]
"""The names that share a place, and the figure they have."""


def _ranks(rows: list[dict[str, Any]], by: tuple[str, ...], superlative: str) -> str:
    first, *others = _places(rows, by, superlative)
    if not others:
        return _winner(first)
    if len(others) < MOST:
        return f"{_winner(first)}, ahead of {listed([_winner(place) for place in others])}"
    second, *_, last = others
    between = len(others) - 2
    return (
        f"{_winner(first)}, ahead of {_winner(second)} and {between} more, "
        f"the last being {_winner(last)}"
    )


def _winner(place: Place) -> str:
    names, figure = place
    return f"{figure} ({listed(names)})"


def _places(rows: list[dict[str, Any]], by: tuple[str, ...], superlative: str) -> list[Place]:
    """The levels from the best on, those of equal figures together."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        fields = {k: v for k, v in row.items() if k not in (*REPLICATES, "value")}
        groups.setdefault(tuple(fields.items()), []).append(row)
    sign = 1 if superlative == "lowest" else -1
    best: dict[str, tuple[float, str]] = {}
    for group in groups.values():
        values = [row["value"] for row in group]
        name = named({field: group[0][field] for field in by})
        found = (sign * float(np.mean(values)), written(group[0]["metric"], values))
        best[name] = min(best.get(name, found), found)
    places: dict[str, list[str]] = {}
    for name, (_, figure) in sorted(best.items(), key=lambda item: item[1][0]):
        places.setdefault(figure, []).append(name)
    return [(names, figure) for figure, names in places.items()]


def written(metric: str, values: Iterable[float]) -> str:
    """A figure with its unit; of several repetitions, the mean ± its standard error."""
    unit = label(metric).partition(" (")[2].rstrip(")")
    unit, scale, digits = ("%", 100.0, 1) if metric in SHARES else (unit, 1.0, 3)
    mean, error = mean_and_error([scale * value for value in values])
    shape = ".1e" if 0 < abs(mean) < 10**-digits else f".{digits}f"
    text = f"{mean:{shape}} ± {error:{shape}}" if error else f"{mean:{shape}}"
    return f"{text} {unit}".strip().replace("-", "−")
