"""Progress of a run: live on a terminal, and one line per minute elsewhere."""

import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax

from experiments.report.words import duration
from jfractal.progress import DOING, bar, doing, every

TICK, MINUTE = 1.0, 60.0  # seconds
MOST = 8  # figures in a line
COMPILATION = "/jax/core/compile/backend_compile_duration"

_compiled = [0.0]


def _count_compilation(event: str, duration_secs: float, **_: Any) -> None:
    if event == COMPILATION:
        _compiled[0] += duration_secs


jax.monitoring.register_event_duration_secs_listener(_count_compilation)


class Watch:
    """Says what a run is doing, from `doing` and the rows it logs.

    Args:
        name: What runs.
    """

    def __init__(self, name: str):
        self._name = name
        self._began = time.monotonic()
        self._row: dict[str, Any] = {}
        self._part: list[object] = []

    @contextmanager
    def on(self) -> Iterator[None]:
        """Speaks meanwhile."""
        self._began = time.monotonic()
        if not sys.stderr.isatty():
            with every(MINUTE, self._print):
                yield
            return
        line = bar(total=0, bar_format="{desc}", leave=False)
        show = lambda: line.set_description_str(self._shown())
        show()
        try:
            with every(TICK, show):
                yield
        finally:
            line.close()

    def row(self, row: Mapping[str, Any]) -> None:
        """Takes note of a logged row."""
        is_other = any(self._row.get(k) != v for k, v in row.items() if isinstance(v, str))
        self._part = DOING[:1]
        self._row = ({} if is_other else self._row) | dict(row)

    def _shown(self) -> str:
        """For a terminal, where the bars below say how far each part is."""
        said = ": ".join(what for what in DOING if isinstance(what, str)) or "running"
        text = f"{self._name}, {duration(round(time.monotonic() - self._began))}: {said}"
        return text[: shutil.get_terminal_size().columns - 1]

    def _print(self) -> None:
        """For a log."""
        figures = {
            name: value
            for name, value in (self._row if DOING[:1] == self._part else {}).items()
            if isinstance(value, int | float) and name not in ("step", "route")
        }
        shown = [f"{name} {value:.4g}" for name, value in [*figures.items()][:MOST]]
        said = ": ".join(map(str, DOING)) or "running"
        began = duration(time.monotonic() - self._began)
        print("; ".join([f"{began}: {said}", *shown[:MOST]]), file=sys.stderr, flush=True)


class Parts:
    """A bar over the parts of a run; the time left is that of parts without their compilation.

    Args:
        total: Their number.
    """

    def __init__(self, total: int):
        hidden = True if total == 1 else None  # else where nobody looks
        self._bar = bar(total=total, unit="part", disable=hidden)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Names a part while it runs."""
        before = _compiled[0]
        self._bar.set_description_str(name)
        with doing(name):
            yield
        spent = _compiled[0] - before
        if not self._bar.disable:
            self._bar.start_t += spent
            self._bar.set_postfix_str(f"the last one compiled for {spent:.0f} s", refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()
