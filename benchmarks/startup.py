"""What there is to wait for before the first step: the import, and the compiler."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter, sleep

from benchmarks.row import Row
from benchmarks.timing import interleaved, row_of_seconds
from benchmarks.training import Scale

__all__ = ["ROWS"]

STACK = "import jax, flax, optax, numpyro"


def import_time(_: Scale) -> Row:
    """Seconds of a process that imports jfractal, in those of what it stands on."""
    code = {"ours": "import jfractal", "other": STACK}
    process = lambda code: subprocess.run([sys.executable, "-c", code], check=True)
    times = interleaved({who: partial(process, code[who]) for who in code})
    return row_of_seconds("import_time", times, at_most=1.5)


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
