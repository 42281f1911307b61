"""The scripts of the guide on several hosts, as they stand, in two processes of this one."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import jfractal as jf

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs/how_to/several_hosts.md").read_text(encoding="utf-8")
SCRIPTS = dict(re.findall(r"^`(\w+\.py)`:\n\n```py\n(.*?)^```", GUIDE, flags=re.M | re.S))
NUM_HOSTS, DEVICES = 2, 2
ALONE = "jax.distributed.initialize()"


def run(name, directory, num_hosts):
    """Starts a script on all hosts, as `srun` does: it says who is who in the environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = SCRIPTS[name] if num_hosts > 1 else SCRIPTS[name].replace(ALONE, "")
    (directory / name).write_text(code)
    processes = []
    for rank in range(num_hosts):
        slurm = {
            "SLURM_JOB_ID": "1",
            "SLURM_STEP_NODELIST": "127.0.0.1",
            "SLURM_NTASKS": str(num_hosts),
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": str(rank),
            "JAX_COORDINATOR_PORT": str(port),
        }
        settings = {
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(DEVICES * NUM_HOSTS // num_hosts),
            "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo" if num_hosts > 1 else "",
        }
        environment = os.environ | settings | (slurm if num_hosts > 1 else {})
        environment = {name: value for name, value in environment.items() if value}
        command = [sys.executable, name]
        processes.append(
            subprocess.Popen(
                command, cwd=directory, env=environment, stdout=subprocess.PIPE, text=True
            )
        )
    try:
        said = [process.communicate(timeout=900)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * num_hosts
    return said


@pytest.mark.slow
def test_training_and_prediction_are_those_of_one_host(tmp_path):
    probs = {}
    for num_hosts in (1, NUM_HOSTS):
        directory = tmp_path / str(num_hosts)
        directory.mkdir()
        run("train.py", directory, num_hosts)
        run("predict.py", directory, num_hosts)
        probs[num_hosts] = np.load(directory / "probs.npy")
    assert probs[1].shape == (200, 2)
    np.testing.assert_allclose(probs[1], probs[NUM_HOSTS], atol=1e-5)


@pytest.mark.slow
def test_chains_of_all_hosts_stand_side_by_side(tmp_path):
    said = run("chains.py", tmp_path, NUM_HOSTS)
    chains = jf.load(tmp_path / "chains.npz")
    assert (chains.num_chains, chains.num_draws) == (4, 100)
    parts = [jf.load(tmp_path / f"chains-{host}.npz") for host in range(NUM_HOSTS)]
    for host, part in enumerate(parts):
        where = slice(2 * host, 2 * host + 2)
        mine = jax.tree.map(lambda w, where=where: w[where], chains.params)
        jax.tree.map(np.testing.assert_array_equal, mine, part.params)
    firsts = [np.asarray(jax.tree.leaves(part.params)[0]) for part in parts]
    assert not np.allclose(*firsts)  # with keys of their own
    verdicts = [re.findall(r"^(?:NOT to be taken|The chains agree)", x, flags=re.M) for x in said]
    assert [len(found) for found in verdicts] == [1, 0]


def test_the_guide_has_all_three():
    assert [*SCRIPTS] == ["train.py", "predict.py", "chains.py"]
    assert all(ALONE in code for code in SCRIPTS.values())
