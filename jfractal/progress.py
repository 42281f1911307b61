"""Progress of long work: what is being done, how far it is, and how long it will take."""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import jax
from tqdm.auto import tqdm

__all__ = ["DOING", "Progress", "bar", "doing", "every"]

TICK = 1.0  # seconds from one look at the clock to the next

DOING: list[object] = []
"""The tasks of this process, the outermost first; each describes itself as a string."""


@contextmanager
def doing(what: object) -> Iterator[None]:
    """Adds a task to the list of what this process is doing, for reports."""
    DOING.append(what)
    try:
        yield
    finally:
        DOING.remove(what)


@contextmanager
def every(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    """Calls a function at regular intervals, in a separate thread."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(seconds):
            act()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def bar(**options: Any) -> tqdm:
    """A tqdm bar on standard error, even on a terminal that does not report its width."""
    made = tqdm(file=sys.stderr, **options)
    width = getattr(made, "ncols", None)
    if isinstance(width, int) and width < 1:  # there, tqdm would show nothing
        made.ncols, made.nrows = shutil.get_terminal_size()
    return made


class Progress:
    """A progress bar on a terminal or in a notebook, and nothing elsewhere.

    As a string, it says how far the work is, for reports without a bar.

    Args:
        name: Name of the work.
        visible: Whether to show the bar; None shows it only on a terminal or in a notebook.
    """

    def __init__(self, name: str, *, visible: bool | None):
        self._name = name
        shown = _is_watched() if visible is None else visible
        self._is_shown = shown and jax.process_index() == 0
        self._bar: tqdm | None = None
        self._below: tqdm | None = None
        self._open = ExitStack()
        self._first = self._done = 0
        self._total: int | None = None
        self._began = 0.0

    def __str__(self) -> str:
        if not self._total:
            return self._name
        text = f"{self._name}, {self._done:,} of {self._total:,} steps"
        if self._done == self._first:
            return text
        pace = (time.monotonic() - self._began) / (self._done - self._first)
        left = pace * (self._total - self._done)
        return f"{text}, {left:.0f} s left" if left < 90 else f"{text}, {left / 60:.0f} min left"

    def start(self, done: int, total: int | None) -> None:
        """Shows the bar.

        Args:
            done: Number of steps taken before.
            total: Total number of steps, if known.
        """
        self._first, self._done, self._total = done, done, total
        self._began = time.monotonic()
        self._open.enter_context(doing(self))
        if not self._is_shown:
            return
        self._bar = bar(total=total, initial=done, unit=" steps", desc=self._name)
        if sys.stderr.isatty():  # the clock runs on while a program is compiled
            self._open.enter_context(every(TICK, self._bar.refresh))

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._open.close()
        for shown in (self._bar, self._below):
            if shown is not None:
                shown.close()

    @contextmanager
    def phase(self, what: str, done: str | None = None) -> Iterator[None]:
        """Names work that takes time between steps, which does not count for the ETA.

        Args:
            what: Description of the work while it runs.
            done: Description once it is done, shown with the time that it took.
        """
        began = time.monotonic()
        if self._bar is not None:
            self._bar.set_description_str(f"{self._name}: {what}")
        with doing(what):
            yield
        seconds = time.monotonic() - began
        self._began += seconds
        if done is not None:
            self._name += f", {done} in {seconds:.1f} s"
        if self._bar is not None:
            self._bar.start_t += seconds
            self._bar.last_print_t += seconds
            self._bar.set_description_str(self._name)

    def update(self, done: int, figures: Mapping[str, float | str]) -> None:
        """Shows the number of steps, and the current metrics."""
        self._done = done
        if self._bar is not None:
            self._bar.set_postfix(_short(figures), refresh=False)
            self._bar.update(done - self._bar.n)

    def validated(self, epoch: float, figures: Mapping[str, float]) -> None:
        """Shows the metrics of a validation, on a line below the bar."""
        if self._bar is None:
            return
        if self._below is None:
            self._below = bar(total=0, bar_format="{desc}")
        shown = ", ".join(f"{name}={value}" for name, value in _short(figures).items())
        width = shutil.get_terminal_size().columns - 1
        self._below.set_description_str(f"validation, epoch {epoch:.3g}: {shown}"[:width])


def _short(figures: Mapping[str, float | str]) -> dict[str, str]:
    return {name: x if isinstance(x, str) else f"{x:.4g}" for name, x in figures.items()}


def _is_watched() -> bool:
    """Whether somebody may be watching standard error: a terminal, or the cell of a notebook."""
    return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")
