"""Ctrl-C at any line of what drives a run: resumed, it has every row and every bit.

`make stress` presses it at 60 lines of each kind of run; the tests, at a few of them.
"""

import contextlib
import gc
import math
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import main

ROOT = Path(__file__).parents[2]
DRIVES = (
    "experiments/run.py",
    "jfractal/inference/mcmc/draw_store.py",
    "jfractal/inference/mcmc/sampler.py",
    "jfractal/interrupts.py",
    "jfractal/lock.py",
    "jfractal/storage.py",
    "jfractal/training/",
)
MOMENTS = {"classification": 6, "ensemble": 2, "NUTS": 3, "sweep": 3}
if os.environ.get("JFRACTAL_STRESS"):
    MOMENTS = dict.fromkeys(MOMENTS, 60)


class Lines:
    """Counts the lines that are run of what drives a run, and presses Ctrl-C at one of them."""

    def __init__(self, pressed=math.inf):
        self.count, self._pressed = 0, pressed
        self._files = tuple(str(ROOT / name) for name in DRIVES)

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._calls)
        return self

    def __exit__(self, *_):
        sys.settrace(self._before)

    def _calls(self, frame, event, _):
        return self._lines if frame.f_code.co_filename.startswith(self._files) else None

    def _lines(self, frame, event, _):
        if event == "line":
            self.count += 1
            if self.count == self._pressed:
                signal.raise_signal(signal.SIGINT)
        return self._lines


def call(kind, directory):
    flags = ["--resume"] if (directory / "config.json").exists() else []
    return main(["fitting", "--kind", kind, "--out", str(directory), *flags])


def left(directory):
    return [(directory / name).read_text() for name in ("rows.jsonl", "metrics.jsonl")]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # it was just being opened
@pytest.mark.parametrize("kind", MOMENTS)
def test_an_interrupt_at_any_line_loses_nothing(tmp_path, kind):
    assert call(kind, tmp_path / "first") == 0  # compiles, whose lines are not run again
    with Lines() as lines:
        assert call(kind, tmp_path / "whole") == 0
    whole = left(tmp_path / "whole")
    random = np.random.default_rng(list(MOMENTS).index(kind))
    for moment in random.integers(1, lines.count, MOMENTS[kind]):
        directory = tmp_path / str(moment)
        gc.collect()  # what was interrupted before ends now, and not within this run
        with contextlib.suppress(KeyboardInterrupt), Lines(moment) as lines:
            code = call(kind, directory)
            assert code == 130 or lines.count < moment, moment  # the run was a few lines shorter
        assert call(kind, directory) == 0
        assert left(directory) == whole, moment
