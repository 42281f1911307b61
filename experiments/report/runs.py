"""The runs that a directory holds, as the index shows them."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from flax.traverse_util import flatten_dict

from experiments.report.words import duration, moment

NEEDED = {"name": str, "started": str, "config": dict, "device": dict, "versions": dict}
"""What is read of config.json, and of what type it is."""
ABOUT = ("dataset", "dataset_requested", "preset", "seed", "device", "seconds", "resumed")
"""What result.json says beside figures."""
PLACES = ("step", "epoch", "route")
"""Numbers of a logged row that are no figures."""
POINTS = 150
"""Points of a curve; neighbours in a longer one are averaged."""

T = TypeVar("T")
Curve = tuple[list[float], list[float]]


@dataclass(frozen=True)
class Entry:
    """A run in the index."""

    path: str
    """Its directory, as seen from the index."""
    name: str
    started: str
    begun: str
    """`started` as people write it."""
    commit: str
    config: dict[str, Any]
    """Settings, device and versions, flat."""
    dataset: str = "unknown"
    preset: str = ""
    took: str = ""
    finding: str = ""
    report: str = ""
    """Its own page, as seen from the index."""
    figures: dict[str, float] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    """Figures by epoch, or by step where there are no epochs."""


def entries(root: Path) -> tuple[list[Entry], list[str]]:
    """All runs in ``root/NAME/TIME/``, the newest first, and a sentence on each thing amiss."""
    found: list[Entry] = []
    amiss: list[str] = []
    for directory in sorted(path for path in root.glob("*/*") if path.is_dir()):
        entry = _entry(root, directory, amiss)
        found += [entry] if entry else []
    return sorted(found, key=lambda entry: entry.started, reverse=True), amiss


@dataclass(frozen=True)
class SweepEntry:
    """A sweep in the index."""

    name: str
    command: str
    done: int
    """How many of its members are."""
    total: int
    report: str
    """Its page, as seen from the index."""


def sweeps(root: Path) -> tuple[list[SweepEntry], list[str]]:
    """All sweeps in ``root/NAME/``, the newest first, and a sentence on each that is damaged."""
    found: list[SweepEntry] = []
    amiss: list[str] = []
    begun = lambda path: path.parent.name.rpartition("-sweep-")[2]
    for path in sorted(root.glob("*/sweep.json"), key=begun, reverse=True):
        page = path.with_name("report.html")
        try:
            record = _object(path.read_text(encoding="utf-8"))
            done = [member["status"] == "done" for member in record["members"]]
            report = page.relative_to(root).as_posix() if page.is_file() else ""
            words = str(record["name"]), str(record["command"])
            found.append(SweepEntry(*words, sum(done), len(done), report))
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            amiss.append(f"{path} is damaged: {' '.join(str(error).split())}.")
    return found, amiss


def _entry(root: Path, directory: Path, amiss: list[str]) -> Entry | None:
    def read(name: str, how: Callable[[Path], T], missing: str, otherwise: T) -> T:
        """A file of the run; if there is none or it is damaged, that is noted."""
        path = directory / name
        try:
            return how(path)
        except FileNotFoundError:
            amiss.append(f"{path} is missing: {missing}.")
        except (OSError, ValueError, TypeError, RecursionError) as error:
            amiss.append(f"{path} is damaged: {' '.join(str(error).split())}.")
        return otherwise

    record = read("config.json", _record, "this is not a run of an experiment", None)
    if record is None:
        return None
    settings = flatten_dict(record["config"], sep=".")
    result = read("result.json", _result, "the run goes on or was interrupted", {})
    curves = read("metrics.jsonl", _curves, "there are no training curves of this run", {})
    path = directory.relative_to(root).as_posix()
    versions = {f"version of {package}": of for package, of in record["versions"].items()}
    return Entry(
        path=path,
        name=record["name"],
        started=record["started"],
        begun=moment(record["started"]),
        commit=str(record.get("commit") or "unknown"),
        config={**settings, "device": record["device"].get("kind"), **versions},
        dataset=result.get("dataset", "unknown"),
        preset=str(result.get("preset", "quick" if settings.get("quick") else "")),
        took=duration(result["seconds"]) if "seconds" in result else "",
        finding=result.get("finding", "" if result else "unfinished"),
        report=f"{path}/report.html" if (directory / "report.html").is_file() else "",
        figures={k: v for k, v in result.items() if _is_number(v) and k not in ABOUT},
        curves=curves,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _record(path: Path) -> dict[str, Any]:
    record = _object(path.read_text(encoding="utf-8"))
    for name, kind in NEEDED.items():
        if not isinstance(record.get(name), kind):
            raise ValueError(f"its `{name}` is {record.get(name)!r}")
    moment(record["started"])
    return record


def _result(path: Path) -> dict[str, Any]:
    result = _object(path.read_text(encoding="utf-8"))
    for name, value in result.items():
        if not isinstance(value, str | int | float):
            raise ValueError(f"its `{name}` is {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"its `{name}` is {value}")
    for name in ("dataset", "finding"):
        if not isinstance(result.get(name, ""), str):
            raise ValueError(f"its `{name}` is {result[name]!r}")
    if not _is_number(result.get("seconds", 0)):
        raise ValueError(f"its `seconds` is {result['seconds']!r}")
    return result


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it holds no object")
    return found


def _curves(path: Path) -> dict[str, Curve]:
    """Logged figures by what they are of; a last line that was never finished is left out."""
    points: dict[str, list[tuple[float, float]]] = {}
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        row = _object(line)
        place = row.get("epoch", row.get("step"))
        if place is None or not _is_number(place):
            continue
        of = ", ".join(str(value) for value in row.values() if isinstance(value, str))
        for name, value in row.items():
            if name not in PLACES and _is_number(value) and math.isfinite(value):
                points.setdefault(f"{of}: {name}" if of else name, []).append((place, value))
    return {name: _short(of) for name, of in points.items() if len(of) > 1}


def _short(points: list[tuple[float, float]]) -> Curve:
    width = math.ceil(len(points) / POINTS)
    chunks = [points[first : first + width] for first in range(0, len(points), width)]
    mean = lambda part: float(f"{sum(part) / len(part):.5g}")
    xs, ys = ([mean([point[axis] for point in chunk]) for chunk in chunks] for axis in (0, 1))
    return xs, ys
