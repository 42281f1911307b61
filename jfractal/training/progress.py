"""What a person sees of a fit: which phase it is in, how far it is, and how long it will take."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import jax
from tqdm.auto import tqdm

__all__ = ["Progress"]


class Progress:
    """A bar on a terminal or in a notebook; nothing where the output is neither.

    Args:
        name: What runs.
        visible: Whether to show it; None for on a terminal and in a notebook only.
    """

    def __init__(self, name: str, *, visible: bool | None):
        self._name = name
        shown = _is_watched() if visible is None else visible
        self._is_shown = shown and jax.process_index() == 0
        self._bar: tqdm | None = None

    def start(self, done: int, total: int | None) -> None:
        """Shows the bar.

        Args:
            done: Steps taken before.
            total: Steps in all, if that is known.
        """
        if self._is_shown:
            self._bar = tqdm(
                total=total, initial=done, unit=" steps", desc=self._name, file=sys.stderr
            )

    def close(self) -> None:
        """Leaves the bar as it is."""
        if self._bar is not None:
            self._bar.close()

    @contextmanager
    def phase(self, what: str, done: str | None = None) -> Iterator[None]:
        """Names what takes its time while no step is taken; it does not count for the ETA.

        Args:
            what: What is being done.
            done: What has been done afterwards, to go on showing how long it took.
        """
        if self._bar is None:
            yield
            return
        began = time.monotonic()
        self._bar.set_description_str(f"{self._name}: {what}")
        yield
        seconds = time.monotonic() - began
        self._bar.start_t += seconds
        self._bar.last_print_t += seconds
        if done is not None:
            self._name += f", {done} in {seconds:.1f} s"
        self._bar.set_description_str(self._name)

    def update(self, row: Mapping[str, float]) -> None:
        """Shows the figures of a step, and how far it is."""
        if self._bar is None:
            return
        shown = {name: f"{value:.3g}" for name, value in row.items() if name != "step"}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(int(row["step"]) - self._bar.n)


def _is_watched() -> bool:
    """Whether somebody may look at standard error: a terminal, or the cell of a notebook."""
    return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")
