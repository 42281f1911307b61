import json
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

import jfractal as jf
from tests.predict.on_mesh import AXES

ROOT = Path(__file__).parents[2]


def start(*args):
    command = [sys.executable, "-m", "tests.predict.on_mesh", *map(str, args)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def finish(process, num_devices):
    try:
        out, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0
    report = json.loads(out.splitlines()[-1])
    assert report["devices"] == num_devices and len(report["deviations"]) == 2 * (len(AXES) + 1)
    assert max(report["deviations"].values()) < 1e-5, report


@pytest.mark.slow
def test_eight_devices_predict_what_one_does():
    finish(start(8), 8)


@pytest.mark.slow
def test_two_processes_predict_what_one_does():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for process in [start(2, rank, port) for rank in range(2)]:
        finish(process, 4)


def test_a_mesh_of_other_axes():
    mesh = Mesh(np.array(jax.devices()), ("model",))
    point = jf.Point({"params": {}})
    with pytest.raises(jf.InputError, match=r"`mesh` must have no axes but `data` and `samples`"):
        jf.predict(lambda v, x: x, point, np.zeros((2, 3)), jax.random.key(0), mesh=mesh)
