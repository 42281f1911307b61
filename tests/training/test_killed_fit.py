"""Fits whose process is killed, between two steps and in the middle of a checkpoint."""

import signal
import subprocess
import sys

import optax
import pytest

import jfractal as jf
from tests.training.problems import (
    FRACTAL_MODEL,
    IMAGES,
    KEY,
    LABELS,
    MAP,
    PARAMS,
    X,
    Y,
    same_fit,
    start,
)

CALLS = {
    "MAP": (MAP, PARAMS, (X, Y)),
    "ensemble": (
        jf.ensemble(jf.sghmc(FRACTAL_MODEL, learning_rate=1e-3, num_draws=2, thinning=2), 2),
        start,
        (IMAGES, LABELS),
    ),
    "mean field": (jf.variational(FRACTAL_MODEL, optax.adam(1e-2)), start, (IMAGES, LABELS)),
}
OPTIONS = {"num_steps": 20, "batch_size": 8, "checkpoint_every": 2, "log_every": 1}

KILLED = """
import os, signal, sys, time
import jax
import jfractal as jf
from tests.training.test_killed_fit import CALLS, KEY, OPTIONS

directory, name, where, moment = sys.argv[1:]
fsync, left = os.fsync, iter(range(int(moment)))

def cut(file):  # the file is written, and not yet in its place
    if next(left, None) is None:
        os.truncate(file, os.fstat(file).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(file)

def kill(row):
    if row["step"] >= int(moment):
        os.kill(os.getpid(), signal.SIGKILL)

if where == "inside":
    os.fsync = cut
callbacks = [kill] if where == "outside" else []
jf.fit(*CALLS[name], KEY, directory=directory, callbacks=callbacks, **OPTIONS)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "where", "moment"),
    [
        ("MAP", "inside", 0),
        ("MAP", "inside", 3),
        ("MAP", "outside", 11),
        ("ensemble", "inside", 2),
        ("mean field", "outside", 7),
    ],
)
def test_a_killed_fit_is_one_that_was_not(tmp_path, name, where, moment):
    command = [sys.executable, "-c", KILLED, str(tmp_path), name, where, str(moment)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    again = jf.fit(*CALLS[name], KEY, directory=tmp_path, **OPTIONS)
    assert not list(tmp_path.glob(".*.part"))
    assert same_fit(again, jf.fit(*CALLS[name], KEY, **OPTIONS))
