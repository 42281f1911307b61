"""What is on the screen: on a terminal a bar, elsewhere nothing at all."""

import io
import os
import pty
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import optax
import pytest

import jfractal as jf
from jfractal.progress import Progress
from tests.training.problems import KEY, MAP, MODEL, PARAMS, X, Y


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    made = Terminal()
    # Not `sys.stderr` itself, which pytest sets anew between a fixture and its test.
    monkeypatch.setattr("jfractal.progress.sys", SimpleNamespace(stderr=made))
    return made


def test_a_terminal_shows_phases_and_figures(terminal):
    method = jf.variational(MODEL, optax.adam(1e-2))
    jf.fit(method, PARAMS, (X, Y), KEY, num_epochs=4, batch_size=8, validation=(X, Y))
    shown = terminal.getvalue()
    assert "mean field: compiling" in shown and "mean field, compiled in" in shown
    assert ": validating" in shown
    last = [line for line in re.split(r"[\r\n]", shown) if "20/20" in line][-1]
    assert "epoch=4" in last
    for part in ("loss=", "nll=", "kl=", "accuracy="):
        assert part in last
    assert "validation, epoch 4: accuracy=" in shown


def test_a_terminal_of_no_width_shows_bars():
    ours, theirs = pty.openpty()
    code = "from jfractal.progress import bar; b = bar(total=3, desc='MAP'); b.update(); b.close()"
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True)
    os.close(theirs)
    assert b"1/3" in os.read(ours, 4096)
    os.close(ours)


def test_elsewhere_there_is_nothing(capfd):
    jf.fit(MAP, PARAMS, (X, Y), KEY, num_epochs=4, batch_size=8, validation=(X, Y))
    out, err = capfd.readouterr()
    assert out == "" and err == ""


@pytest.mark.parametrize("progress", [True, False])
def test_it_can_be_asked_for(progress, terminal, monkeypatch):
    monkeypatch.setattr(terminal, "isatty", lambda: not progress)
    jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=2, progress=progress)
    assert bool(terminal.getvalue()) == progress


def test_a_notebook_is_watched(terminal, monkeypatch):
    monkeypatch.setattr(terminal, "isatty", lambda: False)
    monkeypatch.setattr(Terminal, "__module__", "ipykernel.iostream")
    jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=2)
    assert "compiling" in terminal.getvalue()


def test_the_time_that_is_left_knows_nothing_of_compilation(terminal, monkeypatch):
    """A minute of compilation, then a step a second: ten steps are left after ten seconds."""
    clock = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    progress = Progress("MAP", visible=True)
    progress.start(0, 20)
    with progress.phase("compiling", "compiled"):
        clock[0] += 60
    for step in range(1, 11):
        clock[0] += 1
        progress.update(step, {"loss": 1.0})
    progress.close()
    last = terminal.getvalue().splitlines()[-1]
    assert "MAP, compiled in 60.0 s" in last
    assert re.search(r"10/20 \[00:10<00:10, *1\.00", last), last
