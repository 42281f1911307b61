"""Checkpoints are whole, or are found not to be."""

import os
import shutil
import threading

import jax
import numpy as np
import optax
import pytest

import jfractal as jf
from jfractal import storage
from jfractal.training.checkpoint import Checkpoints
from tests.training.problems import KEY, MAP, MODEL, PARAMS, X, Y, same, same_fit

OPTIONS = {"batch_size": 8, "checkpoint_every": 2}
TREE = {"w": np.arange(5.0, dtype=np.float32), "key": jax.random.key(3), "n": np.int32(2)}


def fit(directory, num_steps=8):
    return jf.fit(MAP, PARAMS, (X, Y), KEY, directory=directory, num_steps=num_steps, **OPTIONS)


def steps(directory):
    return sorted(int(path.stem.removeprefix("step-")) for path in directory.glob("step-*.npz"))


def test_the_newest_are_kept(tmp_path):
    directory = tmp_path / "mit Leerzeichen und Ümläuten"
    fit(directory)
    assert steps(directory) == [4, 6, 8]


def spoil(path, kind):
    content = bytearray(path.read_bytes())
    if kind == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[: len(content) // 2] if kind == "truncated" else content)


@pytest.mark.parametrize("kind", ["flipped", "truncated"])
def test_a_damaged_one_is_named_and_the_one_before_is_taken(tmp_path, kind):
    fit(tmp_path)
    spoil(tmp_path / "step-00000008.npz", kind)
    with pytest.warns(UserWarning, match=r"step-00000008\.npz is damaged .*: it is passed over"):
        again = fit(tmp_path, 12)
    assert same_fit(again, jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=12, batch_size=8))


def test_the_newest_is_that_of_most_steps(tmp_path):
    """Whatever its name and its time say."""
    fit(tmp_path)
    os.utime(tmp_path / "step-00000008.npz", (0, 0))
    shutil.copy(tmp_path / "step-00000004.npz", tmp_path / "step-00000099.npz")
    (tmp_path / "step-00000100.npz").mkdir()
    rows = []
    options = {"directory": tmp_path, "num_steps": 12, "callbacks": [rows.append], "log_every": 1}
    again = jf.fit(MAP, PARAMS, (X, Y), KEY, **options, **OPTIONS)
    assert rows[0]["step"] == 9
    assert same_fit(again, jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=12, batch_size=8))


def test_files_of_others_stay_and_do_not_count(tmp_path):
    """Those of ours that are damaged do not push out the good ones."""
    damaged = [tmp_path / f"step-000000{i}.npz" for i in (97, 98, 99)]
    for path in (tmp_path / "step-notes.npz", tmp_path / "step-1.npz", *damaged):
        path.write_text("no checkpoint")
    with pytest.raises(jf.InputError, match=r"`directory`: all checkpoints in .* are damaged"):
        fit(tmp_path)
    tree = {"w": np.zeros(3, np.float32)}
    with Checkpoints(tmp_path, {}) as checkpoints:
        for step in (2, 4):
            checkpoints.save(step, tree, {})
        checkpoints.save(6, tree, {})
    with Checkpoints(tmp_path, {}) as checkpoints, pytest.warns(UserWarning, match="passed over"):
        assert checkpoints.restore(tree)[0] == 6
    assert {"step-notes.npz", "step-1.npz"} <= set(os.listdir(tmp_path))


def test_all_are_damaged(tmp_path):
    fit(tmp_path)
    for path in tmp_path.glob("step-*.npz"):
        spoil(path, "flipped")
    with pytest.raises(jf.InputError, match=r"`directory`: all checkpoints in .* are damaged"):
        fit(tmp_path)


OTHERS = {
    "method": ({"method": jf.ivon(MODEL, learning_rate=0.1)}, "whose method is 'MAP', not 'IVON'"),
    "optimizer": (
        {"method": jf.maximum_a_posteriori(MODEL, optax.sgd(0.1, momentum=0.9))},
        "whose state is .*, not ",
    ),
    "key": ({"key": jax.random.key(1)}, r"whose key is \[0, 0\], not \[0, 1\]"),
    "batch size": ({"batch_size": 4}, "whose batch_size is 8, not 4"),
    "data": ({"data": (X[:20], Y[:20])}, "whose num_data is 40, not 20"),
    "validation": ({"validation": (X, Y)}, "whose state is .*, not "),
}


@pytest.mark.parametrize("name", OTHERS)
def test_those_of_another_fit_are_refused(tmp_path, name):
    fit(tmp_path, 2)
    change, match = OTHERS[name]
    call = {"method": MAP, "params": PARAMS, "data": (X, Y), "key": KEY, **OPTIONS} | change
    with pytest.raises(jf.InputError, match=f"`directory`: .* of another fit, {match}"):
        jf.fit(**call, directory=tmp_path, num_steps=4)
    assert steps(tmp_path) == [2]


def test_a_call_that_failed_leaves_no_checkpoint(tmp_path):
    with pytest.raises(jf.InputError):
        jf.fit(MAP, PARAMS, (X, Y - 1), KEY, directory=tmp_path, num_steps=4)
    assert steps(tmp_path) == []


def test_it_is_written_while_the_fit_goes_on(tmp_path, monkeypatch):
    go, write = threading.Event(), storage.write

    def slow(*args):
        assert go.wait(60)
        write(*args)

    monkeypatch.setattr(storage, "write", slow)
    with Checkpoints(tmp_path, {}) as checkpoints:
        checkpoints.save(1, TREE, {"loss/a": np.zeros(1)})
        assert steps(tmp_path) == []
        go.set()
    assert steps(tmp_path) == [1]
    with Checkpoints(tmp_path, {}) as checkpoints:
        step, tree, history = checkpoints.restore(TREE)
    assert step == 1 and history.keys() == {"loss/a"}
    data = lambda tree: {**tree, "key": jax.random.key_data(tree["key"])}
    assert same(data(tree), data(TREE))
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPool")]


def test_a_full_disk_stops_the_fit_and_costs_no_checkpoint(tmp_path, monkeypatch):
    fit(tmp_path, 2)

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        full_disk = r"cannot write .*: No space left on device; free 0\.\d MB there, and call again"
        with pytest.raises(jf.InputError, match=full_disk):
            fit(tmp_path)
    assert same_fit(fit(tmp_path), jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=8, batch_size=8))


def test_two_fits_in_one_directory(tmp_path):
    def second(row):
        fit(tmp_path)

    options = {"directory": tmp_path, "num_steps": 2, "log_every": 1, "callbacks": [second]}
    with pytest.raises(jf.InputError, match="`directory`: another process works in"):
        jf.fit(MAP, PARAMS, (X, Y), KEY, **options)
