"""What is seen of a run: on a terminal as it goes, in a log a line a minute."""

import io
import re
import time
from types import SimpleNamespace

import pytest

from experiments import watch
from experiments.__main__ import main
from experiments.run import Options, Run
from experiments.watch import Parts, Watch
from jfractal.progress import doing


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def stderr(request, monkeypatch):
    made = getattr(request, "param", io.StringIO)()
    for module in ("experiments.watch", "jfractal.progress"):
        monkeypatch.setattr(f"{module}.sys", SimpleNamespace(stderr=made))
    return made


@pytest.fixture
def quick_clock(monkeypatch):
    monkeypatch.setattr(watch, "TICK", 0.01)
    monkeypatch.setattr(watch, "MINUTE", 0.05)


def seen(stderr):
    return [line for line in re.split(r"[\r\n]", stderr.getvalue()) if line.strip()]


def test_a_log_has_a_line_a_minute_that_says_what_is_done(stderr, quick_clock):
    watched = Watch("digits")
    with watched.on(), doing("2/3 IVON"), doing("testing"):
        watched.row({"net": "IVON", "step": 4, "epoch": 1.5, "loss": 0.25, "route": 1.0})
        watched.row({"net": "IVON", "step": 5, "epoch": 1.75, "validation/nll": 0.5})
        time.sleep(0.18)
    lines = seen(stderr)
    assert 2 <= len(lines) <= 3
    said = "2/3 IVON: testing; epoch 1.75; loss 0.25; validation/nll 0.5"
    assert lines[0].endswith(f" s: {said}")


def test_rows_of_another_fit_replace_those_before(stderr, quick_clock):
    watched = Watch("digits")
    with watched.on():
        watched.row({"net": "MAP", "step": 4, "loss": 0.25})
        watched.row({"net": "IVON", "step": 1, "kl": 3.0})
        time.sleep(0.08)
    assert seen(stderr)[0].endswith("s: running; kl 3")


def test_figures_of_a_part_go_with_it(stderr, quick_clock):
    watched = Watch("digits")
    with watched.on():
        with doing("1/2 MAP"):
            watched.row({"step": 4, "loss": 0.25})
        with doing("2/2 IVON"):
            time.sleep(0.08)
    assert seen(stderr)[0].endswith("s: 2/2 IVON")


@pytest.mark.parametrize("stderr", [Terminal], indirect=True)
def test_a_terminal_is_never_silent(stderr, quick_clock, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with Watch("digits").on():
        assert seen(stderr)[-1] == "digits, 0.0 s: running"
        with doing("compiling"):
            clock[0] += 42
            time.sleep(0.2)
    assert "digits, 42 s: compiling" in seen(stderr)


@pytest.mark.parametrize("stderr", [Terminal], indirect=True)
def test_each_part_says_which_it_is(stderr, tmp_path):
    with Run.open("counting", Options(out=tmp_path), "") as run:
        cells = list(run.each(method=("MAP", "IVON"), temperature=(0.1, 1.0)))
    assert cells[1] == {"method": "MAP", "temperature": 1.0}
    shown = stderr.getvalue()
    for name in ("1/4 MAP, temperature 0.1", "4/4 IVON, temperature 1"):
        assert name in shown


@pytest.mark.parametrize("stderr", [Terminal], indirect=True)
def test_the_time_left_knows_nothing_of_compilation(stderr, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    parts = Parts(4)
    for name in ("a", "b"):
        with parts.part(name):
            watch._count_compilation(watch.COMPILATION, 30.0)
            clock[0] += 40
    parts.close()
    assert re.search(r"2/4 \[00:20<00:20", seen(stderr)[-1])
    assert "the last one compiled for 30 s" in seen(stderr)[-1]


def test_nothing_but_the_result_where_nobody_looks(capsys, tmp_path):
    assert main(["fitting", "--quick", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    loading, header, *_ = printed.out.splitlines()
    assert loading == "fitting: loading JAX" and header.startswith("fitting (quick, seed 0) on ")
