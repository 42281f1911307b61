"""Runs that are killed and interrupted leave what an undisturbed one leaves, bit for bit.

`make stress` kills 42 times, 12 times inside the write of a checkpoint; the tests, a sample of it.
"""

import contextlib
import functools
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import jfractal as jf
from tests.experiments import struck
from tests.experiments.test_command import MAIN
from tests.training.problems import KEY, MAP, PARAMS, X, Y, same_fit

ROOT = Path(__file__).parents[2]

KINDS = ["classification", "Bayesian", "ensemble", "SG-MCMC", "NUTS", "sweep"]
BLOWS = [
    ("inside", "SIGKILL"),
    ("SIGTERM", "SIGINT twice"),
    ("SIGKILL", "SIGKILL", "inside", "SIGKILL", "SIGKILL"),
]
CASES = [(kind, blows) for blows in BLOWS for kind in KINDS]
if not os.environ.get("JFRACTAL_STRESS"):
    CASES = [("classification", BLOWS[0]), ("NUTS", BLOWS[1])]

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.experiments.struck"])


@contextlib.contextmanager
def begun(directory, kind, cache, write=0):
    """A process that goes on with a run, once it has come so far as to say so."""
    flags = ["fitting", "--kind", kind, "--out", str(directory)]
    flags += ["--resume"] if (directory / "config.json").exists() else []
    said = directory.parent / "said"
    said.unlink(missing_ok=True)
    process = PROCESSES.Process(target=struck.run, args=(flags, said, cache, write))
    process.start()
    while process.is_alive() and not (said.exists() and said.stat().st_size):
        time.sleep(0.01)
    yield process
    process.kill()
    process.join()


def left(directory):
    """The figures of a run and its rows."""
    return [(directory / name).read_text() for name in ("rows.jsonl", "metrics.jsonl")]


@functools.cache
def undisturbed(kind, parent):
    """What a run leaves, and how long it takes."""
    directory = parent / kind / "run"
    directory.parent.mkdir()
    with begun(directory, kind, parent / "cache") as process:
        since = time.monotonic()
        assert ended(process) == 0, (directory.parent / "said").read_text()
    return left(directory), time.monotonic() - since


def ended(process, timeout=None):
    """The exit code, or None if it goes on."""
    process.join(timeout)
    return process.exitcode


def disturb(process, blow, moment):
    """Sends the signals, unless the process ends before."""
    if blow == "inside" or ended(process, moment) is not None:
        return ended(process)
    name, _, twice = blow.partition(" ")
    for _ in range(2 if twice else 1):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, getattr(signal, name))
        time.sleep(0.05)
    return ended(process)


ENDS = {
    "inside": {-signal.SIGKILL},
    "SIGKILL": {-signal.SIGKILL},
    "SIGTERM": {128 + signal.SIGTERM},
    "SIGINT twice": {128 + signal.SIGINT},
}


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return tmp_path_factory.mktemp("stress")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "blows"), CASES, ids=lambda x: x if isinstance(x, str) else ", ".join(x)
)
def test_a_disturbed_run_is_one_that_was_not(tmp_path, parent, kind, blows):
    whole, seconds = undisturbed(kind, parent)
    random = np.random.default_rng([KINDS.index(kind), BLOWS.index(blows)])
    runs = (tmp_path / f"Läufe, der {i}." / "run" for i in itertools.count())
    directory = next(runs)
    directory.parent.mkdir()
    for blow in blows:
        write, moment = int(random.integers(1, 4)), random.uniform(0, seconds / 2)
        is_complete = True
        while is_complete:
            with begun(directory, kind, parent / "cache", write * (blow == "inside")) as process:
                code = disturb(process, blow, moment)
            is_complete = (directory / "result.json").exists()
            if is_complete:  # too late
                assert left(directory) == whole
                directory, write, moment = next(runs), max(write // 2, 1), moment / 2
                directory.parent.mkdir()
        assert code in ENDS[blow], (blow, (directory.parent / "said").read_text())
        log = directory / "metrics.jsonl"  # which a run has once it has begun
        rows = log.read_text().count("\n") if log.exists() else 0
        print(f"{kind}: {blow} after {moment:.2f} s and {rows} rows")
    with begun(directory, kind, parent / "cache") as process:
        assert ended(process) == 0, (directory.parent / "said").read_text()
    assert left(directory) == whole
    assert not list(directory.rglob("*.part"))


@pytest.mark.slow
def test_a_directory_that_cannot_be_written_to_is_one_sentence(tmp_path):
    """Neither may a run begin in it, nor go on."""
    # What root may not be kept from by modes, it is kept from without this capability.
    drop = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []

    def call(out, *flags):
        flags = ["counting", "--out", str(tmp_path / out), *flags]
        command = [*drop, sys.executable, "-c", MAIN, *flags]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert call("made").returncode == 0
    for path in (tmp_path / "made", tmp_path):
        path.chmod(0o555)
    for done in (call("anew"), call("made", "--resume")):
        assert done.returncode == 2
        assert done.stderr.startswith("error: `out`: cannot write ")
        assert done.stderr.count("\n") == 1
    for path in (tmp_path, tmp_path / "made"):
        path.chmod(0o755)


@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning", "ignore:.*fork:DeprecationWarning")
def test_a_process_that_forks_goes_on_and_the_forked_one_is_refused():
    fit = lambda: jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=20, batch_size=8)
    whole = fit()
    predict = lambda: jf.predict(MAP.model, jf.Point({"params": PARAMS}), X, KEY, num_samples=1)
    for call in (fit, predict):
        if (process := os.fork()) == 0:
            try:
                call()
            except jf.InputError as error:
                os._exit(0 if "forked" in str(error) else 1)
            finally:
                os._exit(2)
        assert os.waitpid(process, 0)[1] == 0
    again = fit()
    assert same_fit(whole, again)
