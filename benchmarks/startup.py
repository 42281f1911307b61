"""What there is to wait for before the first step: the import, and the compiler."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep

import numpy as np

from benchmarks.row import Row
from benchmarks.timing import row_of_seconds
from benchmarks.training import Scale

__all__ = ["ROWS"]

STACK = "import jax, flax, optax, numpyro"


def import_time(_: Scale) -> Row:
    """Seconds of the processor to import jfractal, in those to import what it stands on."""
    code = {"ours": "import jfractal", "other": STACK}
    rounds = [{who: _processor_seconds(code[who]) for who in code} for _ in range(6)][1:]
    times = {who: np.array([times[who] for times in rounds]) for who in code}
    return row_of_seconds("import_time", times, at_most=1.5)


def _processor_seconds(code: str) -> float:
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])  # of processes that have ended, user and system


def time_to_first_step(_: Scale) -> Row:
    """Seconds from the start of `digits_fractal` to its first step, and their share of the run."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory, "run")
        flags = ["digits_fractal", "--out", str(out), "--train.log-every", "1"]
        began = perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "experiments", *flags], stdout=subprocess.DEVNULL
        ) as process:
            while process.poll() is None and not _has_begun(out / "metrics.jsonl"):
                sleep(0.02)
            first = perf_counter() - began
            if process.wait():
                raise RuntimeError(f"digits_fractal ended with code {process.returncode}")
        whole = perf_counter() - began
    return Row("time_to_first_step", first, whole, first / whole, "s")


def _has_begun(metrics: Path) -> bool:
    return metrics.exists() and metrics.stat().st_size > 0


ROWS: dict[str, Callable[[Scale], Row]] = {
    "import_time": import_time,
    "time_to_first_step": time_to_first_step,
}
