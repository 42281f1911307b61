"""What a person sees of a fit: which phase it is in, how far it is, and how long it will take."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tqdm.auto import tqdm

__all__ = ["Progress"]

SHOWN = ("loss", "nll", "kl", "accuracy")


class Progress:
    """A bar on a terminal or in a notebook; nothing where the output is neither.

    Args:
        name: What runs.
        total: Steps in all.
        done: Steps taken before.
        steps_per_epoch: Steps of an epoch.
        visible: Whether to show it; None for on a terminal only.
    """

    def __init__(
        self,
        name: str,
        *,
        total: int | None,
        done: int,
        steps_per_epoch: int | None,
        visible: bool | None,
    ):
        self._name, self._per_epoch = name, steps_per_epoch
        hidden = None if visible is None else not visible
        self._bar = tqdm(
            total=total, initial=done, disable=hidden, unit=" steps", desc=name, file=sys.stderr
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    @contextmanager
    def phase(self, what: str) -> Iterator[None]:
        """Names what takes its time while no step is taken; it does not count for the ETA."""
        began = time.monotonic()
        self._bar.set_description_str(f"{self._name}: {what}")
        yield
        if not self._bar.disable:
            self._bar.start_t += time.monotonic() - began
        self._bar.set_description_str(self._name)

    def update(self, step: int, row: Mapping[str, float]) -> None:
        """Shows that so many steps have been taken, and the figures of the last."""
        if self._bar.disable:
            return
        shown = {name: f"{row[name]:.3g}" for name in SHOWN if name in row}
        epoch = {"epoch": f"{step / self._per_epoch:.1f}"} if self._per_epoch else {}
        self._bar.set_postfix({**epoch, **shown}, refresh=False)
        self._bar.update(step - self._bar.n)
