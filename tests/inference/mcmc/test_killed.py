"""Chains whose process is killed, in the middle of writing what it has."""

import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

import jfractal as jf
from tests.inference.conftest import flat

PROBLEM = jf.testing.ConjugateRegression.random(jax.random.key(1))
CALL = {
    "model": PROBLEM.model,
    "data": PROBLEM.data,
    "key": jax.random.key(4),
    "starts": PROBLEM.start,
    "trajectory_length": 1.5,
    "num_warmup": 30,
    "num_draws": 60,
}

KILLED = """
import os, signal, sys
import jfractal as jf
from tests.inference.mcmc.test_killed import CALL

replace, left = os.replace, iter(range(int(sys.argv[2])))

def cut(*paths):
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)

os.replace = cut
jf.hmc(directory=sys.argv[1], **CALL)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "looks", [0, 1, 3, 7]
)  # before there is any file, before any draw, in warm-up, after it
def test_a_killed_run_has_the_draws_of_one_that_was_not(tmp_path, looks):
    process = subprocess.run([sys.executable, "-c", KILLED, tmp_path, str(looks)], check=False)
    assert process.returncode == -signal.SIGKILL
    run = lambda directory: flat(jf.hmc(directory=directory, **CALL).params)
    np.testing.assert_array_equal(run(tmp_path), run(None))
