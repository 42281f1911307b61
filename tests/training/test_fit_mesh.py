import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

import jfractal as jf
from tests.training.problems import KEY, MAP, PARAMS, X, Y, same_fit

ROOT = Path(__file__).parents[2]


def start(*args):
    command = [sys.executable, "-m", "tests.training.on_mesh", *map(str, args)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def finish(processes, num_devices):
    with ExitStack() as stack:
        for process in processes:
            stack.enter_context(process)
            stack.callback(process.kill)
        for process in processes:
            out, _ = process.communicate(timeout=900)
            assert process.returncode == 0
            report = json.loads(out.splitlines()[-1])
            assert report["devices"] == num_devices and len(report["deviations"]) == 8
            assert max(report["deviations"].values()) < 1e-5, report
            if len(processes) > 1:
                assert "must have a device of every process" in report["of another process"]


@pytest.mark.slow
def test_eight_devices_fit_what_one_does():
    finish([start(8)], 8)


@pytest.mark.slow
def test_two_processes_fit_what_one_does(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    finish([start(4, rank, port, tmp_path) for rank in range(2)], 8)


def on(number, *axes):
    devices = np.array(jax.devices()[:number]).reshape(-1, *(1,) * (len(axes) - 1))
    return Mesh(devices, axes)


def test_the_members_lie_on_their_devices_and_resume(tmp_path):
    method, options = jf.ensemble(MAP, 2), {"num_steps": 6, "batch_size": 8}
    starts = lambda key: jax.tree.map(lambda w: w + jax.random.normal(key, w.shape), PARAMS)
    arguments = method, starts, (X, Y), KEY
    whole = jf.fit(*arguments, mesh=on(2, "members", "data"), **options)
    kernel = whole.state.params["Dense_0"]["kernel"]
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(1, 4, 3)}

    def stop(row):
        raise KeyboardInterrupt

    options |= {"mesh": on(2, "members", "data"), "directory": tmp_path}
    jf.fit(*arguments, callbacks=[stop], log_every=1, **options)
    assert same_fit(whole, jf.fit(*arguments, **options))


@pytest.mark.parametrize(
    ("axes", "options", "match"),
    [
        (("model",), {}, r"`mesh` must have no axes but `data` and `members`, got \('model',\)"),
        (("members",), {}, "the axis `members` of `mesh` must divide the members .* 2 .* MAP"),
        (("data",), {"batch_size": 5}, "the axis `data` .* must divide .* 2 devices for 5 exam"),
    ],
)
def test_bad_input(axes, options, match):
    with pytest.raises(jf.InputError, match=match):
        jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=1, mesh=on(2, *axes), **options)


def test_batches_that_cannot_be_cut():
    with pytest.raises(jf.InputError, match=r"the axis `data` .* 2 devices for 5 examples"):
        batches = [(X[:5], Y[:5])]
        jf.fit(MAP, PARAMS, batches, KEY, num_steps=1, num_data=40, mesh=on(2, "data"))
