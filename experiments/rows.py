"""Tidy rows: the results of an experiment, one number per row."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

REPLICATES = ("seed", "split")
"""Fields that tell repetitions apart, over which figures are averaged."""


@dataclass
class Rows:
    """Rows ``{method, seed, route, ..., metric, value}``; which fields there are is open."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, figures: Mapping[str, Any], **fields: Any) -> None:
        """Adds a row for each figure by name, all with the same fields."""
        for metric, value in figures.items():
            plain = value.item() if hasattr(value, "item") else value
            self.rows.append({**fields, "metric": metric, "value": plain})

    @classmethod
    def of(cls, found: "Rows | Mapping[str, Any]") -> "Rows":
        """Figures by name as rows; rows as they are."""
        if isinstance(found, Rows):
            return found
        rows = cls()
        rows.add(found)
        return rows

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows as they are."""
        self.rows.extend(dict(row) for row in rows)

    def where(self, **fields: Any) -> "Rows":
        """The rows with these values: None for rows without a field, a tuple for any of several."""

        def holds(row: Mapping[str, Any]) -> bool:
            return all(
                row.get(k) in v if isinstance(v, tuple) else row.get(k) == v
                for k, v in fields.items()
            )

        return Rows([row for row in self.rows if holds(row)])

    def levels(self, field: str) -> list[Any]:
        """The different values of a field, in the order in which they come."""
        return list(dict.fromkeys(row[field] for row in self.rows if field in row))

    def values(self, metric: str, **fields: Any) -> np.ndarray:
        """All values of a figure where fields have these values: one for each repetition."""
        return np.array([row["value"] for row in self.where(metric=metric, **fields)])

    def records(self) -> list[dict[str, Any]]:
        """Rows that differ in their metric only, as one: its fields, and its figures by name."""
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row in self.rows:
            fields = {k: v for k, v in row.items() if k not in ("metric", "value")}
            record = found.setdefault(tuple(fields.items()), fields)
            record[row["metric"]] = row["value"]
        return list(found.values())

    def figures(self) -> dict[str, Any]:
        """One flat entry for each figure: its mean over repetitions and, of several, ``…_se``.

        Names say the fields that differ between rows: ``accuracy_map_column_1``.
        """
        fields = [
            name
            for name in dict.fromkeys(key for row in self.rows for key in row)
            if name not in (*REPLICATES, "metric", "value") and len(self.levels(name)) > 1
        ]
        groups: dict[str, list[Any]] = {}
        for row in self.rows:
            parts = [row["metric"], *(row[name] for name in fields if name in row)]
            groups.setdefault("_".join(map(slug, parts)), []).append(row["value"])
        flat: dict[str, Any] = {}
        for name, values in groups.items():
            if len(values) == 1 or isinstance(values[0], bool | str):
                flat[name] = values[0]
            else:
                flat[name], flat[f"{name}_se"] = mean_and_error(values)
        return flat


def intervals(estimates: Mapping[str, Sequence[Any]]) -> dict[str, float]:
    """Estimates ``(value, lower, upper)`` as flat figures, each with the ends of its interval."""
    return {
        f"{of}{end}": float(value)
        for of, estimate in estimates.items()
        for end, value in zip(("", "_lower", "_upper"), estimate, strict=True)
    }


def slug(name: Any) -> str:
    """A name as a part of a key: ``Laplace, last layer`` becomes ``laplace_last_layer``."""
    return re.sub(r"[^\w.]+", "_", str(name).lower()).strip("_")


def mean_and_error(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The mean over repetitions and its standard error, which is 0 for one of them."""
    values = np.asarray(values, float)
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(np.mean(values)), float(error)
