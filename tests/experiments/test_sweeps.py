"""Sweeps: which members there are, that they all come to an end, and what they found together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.sweeps import engines, room, summary
from experiments.sweeps.__main__ import main
from experiments.sweeps.grid import Member, Request, grid
from experiments.sweeps.task import Task, conduct
from tests.experiments.test_command import MAIN

ROOT = Path(__file__).parents[2]
SWEEP = MAIN.replace("experiments.__main__", "experiments.sweeps.__main__").replace(
    "sys.exit",
    f"from experiments.sweeps import engines; engines.PROGRAM = ({sys.executable!r}, '-c', "
    f"{MAIN!r})\nsys.exit",
)


@pytest.fixture(autouse=True)
def members_know_the_fake(monkeypatch):
    """Members are processes of their own, which must find `counting` too."""
    monkeypatch.setattr(engines, "PROGRAM", (sys.executable, "-c", MAIN))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def request(flags=(), seeds=1, seed=0, **levels):
    fields = {name.replace("__", "."): values for name, values in levels.items()}
    return Request("counting", tuple(flags), fields, seed, seeds)


def read(directory, name="sweep.json"):
    return json.loads((Path(directory) / name).read_text())


def statuses(directory):
    return {m["directory"]: m["status"] for m in read(directory)["members"]}


# Which members


def test_each_cell_comes_with_each_seed():
    members = request(seeds=2, seed=5, steps=("1", "2"), counter__stride=("3", "4")).members()
    assert len(members) == 8
    assert members[1] == Member(
        "steps-1_counter.stride-3_seed-6",
        {"steps": 1, "counter.stride": 3, "seed": 6},
        ("--steps", "1", "--counter.stride", "3", "--seed", "6"),
    )
    assert [m.values["steps"] for m in members] == [1] * 4 + [2] * 4


def test_seeds_of_one_program_are_one_member():
    """All seeds of a cell share a run where the experiment vmaps over them."""
    grid = {"train.num_steps": ("5", "6")}
    members = Request("active_learning", ("--quick",), grid, 3, 4).members()
    assert [m.label for m in members] == [f"train.num_steps-{n}_seed-3" for n in (5, 6)]
    assert members[0].flags[-2:] == ("--num-seeds", "4")
    flags = ("--quick", "--num-seeds", "2")  # whoever says how many repetitions each has
    assert len(Request("active_learning", flags, {}, 3, 4).members()) == 4
    assert len(Request("overfitting", ("--quick",), {}, 3, 4).members()) == 4


def test_levels_are_those_of_the_command_line():
    assert grid(["model.columns=1,2", "train.num-epochs= 3 "]) == {
        "model.columns": ("1", "2"),
        "train.num_epochs": ("3",),
    }


def test_a_switch_and_a_tuple_are_fields_too():
    levels = {"data.flip": ("True", "false"), "model.widths": ("4 8", "8 16")}
    flags = ("--quick",)
    members = Request("digits_fractal", flags, levels, 0, 1).members()
    assert members[1].flags == (
        "--quick",
        "--data.flip",
        *("--model.widths", "8", "16", "--seed", "0"),
    )
    assert members[2].flags[1] == "--data.no-flip"
    assert members[3].values == {"data.flip": False, "model.widths": "8 16", "seed": 0}
    assert members[3].label == "data.flip-False_model.widths-8-16_seed-0"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--grid", "counter.strid=1,2"], "`grid`: counting has no setting `counter.strid`; did"),
        (["--grid", "stride=1,2"], "did you mean `counter.stride`?"),
        (["--grid", "gradient=1"], "counting has no setting `gradient`; `make experiment"),
        (["--grid", "seed=1,2"], "`grid` must leave out `seed`: --seeds N"),
        (["--grid", "steps"], "`grid` must be FIELD=VALUE,VALUE,..., got 'steps'"),
        (["--grid", "steps=1,,2"], "`grid` must be FIELD=VALUE,VALUE,..., got 'steps=1,,2'"),
        (["--grid", "steps=1", "steps=2"], "`grid` must name a field once, got 'steps' twice"),
        (["--grid", "steps=1,01"], "`grid` must have levels that differ, got two of steps-1_"),
        (["--grid", "steps=1,many"], "--steps"),
        (["--grid", "end=well,badly"], "--end"),
        (["--grid", "quick=yes"], "`grid`: `quick` must be True or False, got 'yes'"),
        (["--seeds", "0"], "`seeds` must be at least 1, got 0"),
        (["--cores", "0"], "`cores` must be at least 1, got 0"),
        (["--memory", "0"], "`memory` must be above 0, got 0.0"),
        (["--engine", "abacus"], "abacus"),
        (["--stepps", "3"], "--steps"),
        (["--resume"], "`resume`: there is no sweep of counting in runs"),
        (["--resume", "--out", "nowhere"], "`resume`: there is no sweep in nowhere"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_anything_runs(flags, said, capsys):
    try:
        code = main(["counting", *flags])
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error
    assert not Path("runs").exists() and not Path("nowhere").exists()


def test_unknown_experiments_and_help(capsys):
    assert main(["countin"]) == 2
    assert "did you mean 'counting'?" in capsys.readouterr().err
    assert main([]) == 2 and main(["--help"]) == 0
    with pytest.raises(SystemExit) as stop:
        main(["counting", "--help"])
    assert stop.value.code == 0
    assert "FIELD=VALUE,VALUE" in capsys.readouterr().out


# Running


@pytest.mark.slow
def test_a_sweep_leaves_runs_and_a_summary(capsys):
    flags = ["--seeds", "2", "--grid", "counter.stride=1,5", "--steps", "2"]
    assert main(["counting", *flags]) == 0
    printed = capsys.readouterr()
    directory = Path(printed.out.splitlines()[-1])
    assert printed.err == "" and directory.parent == Path("runs")
    assert set(statuses(directory).values()) == {"done"}
    record = read(directory)
    assert record["command"].endswith("counting --seeds 2 --grid counter.stride=1,5 --steps 2")
    for member in record["members"]:
        place = directory / member["directory"]
        assert read(place, "result.json")["seed"] == member["values"]["seed"]
        config = read(place, "config.json")
        assert config["name"] == "counting"
        assert config["config"]["counter"]["stride"] == member["values"]["counter.stride"]
        assert (place / "report.html").exists()
    page = (directory / "report.html").read_text()
    assert all(f'<a href="{label}/report.html">' in page for label in statuses(directory))
    rows = [json.loads(line) for line in (directory / "rows.jsonl").read_text().splitlines()]
    assert [(r["counter.stride"], r["seed"], r["value"]) for r in rows] == [
        *((1, 0, 2), (1, 1, 2)),
        *((5, 0, 10), (5, 1, 10)),
    ]
    table = (directory / "summary.md").read_text()
    assert "4 of 4 members" in table and "| 10 ± 0 " in table
    assert table.splitlines()[-1] in printed.out
    assert main(["counting", "--out", str(directory)]) == 2
    assert "already holds a sweep; continue it with --resume" in capsys.readouterr().err


@pytest.mark.slow
def test_a_failed_member_is_reported_and_the_others_go_on(tmp_path, capsys):
    out = tmp_path / "sweep"
    flags = ["--grid", "end=nan,bug,refused,well", "--out", str(out)]
    assert main(["counting", *flags]) == 1
    printed = capsys.readouterr()
    errors = {m["values"]["end"]: m.get("error") for m in read(out)["members"]}
    assert errors == {
        "nan": "`total` is nan, which is not a result (exit code 1)",
        "bug": "ZeroDivisionError (exit code 1)",
        "refused": "`dataset` must be countable (exit code 2)",
        "well": None,
    }
    assert list(statuses(out).values()) == ["failed"] * 3 + ["done"]
    assert "end-nan_seed-0: failed: `total` is nan" in printed.out
    assert "3 members failed; to try them again:" in printed.err
    assert "1 of 4 members" in (out / "summary.md").read_text()
    before = (out / "end-well_seed-0/result.json").stat().st_mtime_ns
    assert main(["counting", "--resume"]) == 2  # that one is elsewhere
    assert main(["counting", "--resume", "--out", str(out)]) == 1
    assert (out / "end-well_seed-0/result.json").stat().st_mtime_ns == before  # not run again
    other = ["--resume", "--out", str(out), "--seeds", "2"]
    assert main(["counting", *other]) == 2
    assert "was begun with: python -m experiments.sweeps counting" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path, name):
    """The first member hangs after its first step; then there is one that ends."""
    out = tmp_path / "sweep"
    flags = ["counting", "--grid", "end=never,well", "--steps", "2", "--out", str(out)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    shell = [sys.executable, "-c", SWEEP]
    process = subprocess.Popen(
        [*shell, *flags], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    said = out / "end-never_seed-0/output.txt"
    while process.poll() is None and not (said.exists() and "\ncounting\n" in said.read_text()):
        time.sleep(0.1)
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=120)
    assert process.returncode == 128 + getattr(signal, name)
    assert "to continue:" in error and "Traceback" not in error
    assert "to continue:" in said.read_text()  # it was told, and saved
    assert statuses(out)["end-never_seed-0"] == "waiting"
    rows = (out / "end-never_seed-0/metrics.jsonl").read_text()
    (out / "end-never_seed-0/checkpoints/count").write_text("2")  # nothing is left to hang at
    (out / "end-never_seed-0/metrics.jsonl").write_text(rows + '{"step": 2, "total": 2}\n')
    done = subprocess.run(
        [*shell, "counting", "--resume", "--out", str(out)], cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == 0
    assert set(statuses(out).values()) == {"done"}
    assert read(out / "end-never_seed-0", "result.json")["resumed"]


def test_two_processes_do_not_run_one_sweep(tmp_path, capsys):
    from jfractal.lock import Lock

    with Lock(tmp_path):
        assert main(["counting", "--out", str(tmp_path)]) == 2
    assert "another process works in" in capsys.readouterr().err


def test_a_damaged_record_is_one_sentence(tmp_path, capsys):
    (tmp_path / "sweep.json").write_text('{"name": "counting"}')
    assert main(["counting", "--resume", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: `resume`: ")


def test_members_of_the_newest_sweep_go_on(monkeypatch):
    """Names say the time."""
    for second in ("000000", "000001"):
        place = Path(f"runs/counting-sweep-20260101-{second}")
        place.mkdir(parents=True)
        record = {"name": "counting", "flags": ["--steps", second[-1]], "grid": {}, "seed": 0}
        (place / "sweep.json").write_text(json.dumps({**record, "seeds": 1}))
    asked = []
    conduct = lambda sweep, run: asked.append(sweep.request.flags) or 0
    monkeypatch.setattr("experiments.sweeps.command._conduct", conduct)
    monkeypatch.setattr("experiments.sweeps.command._summarize", lambda sweep: None)
    assert main(["counting", "--resume"]) == 0
    assert asked == [("--steps", "1")]


# Room


def test_places_are_bounded_by_cores_memory_and_members(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(room, "_cores", lambda: [*range(8)])
    monkeypatch.setattr(room, "free_memory", lambda: int(7e9))
    number = lambda cores, memory, members: len(room.slots(room.Needs(cores, memory), members))
    assert number(1, 1.0, 99) == 7
    assert number(3, 1.0, 99) == 2
    assert number(1, 2.0, 99) == 3
    assert number(1, 1.0, 2) == 2
    assert number(9, 99.0, 99) == 1
    monkeypatch.setattr(room, "free_memory", lambda: None)
    assert number(1, 99.0, 99) == 8
    places = room.slots(room.Needs(1, 1.0), 3)
    assert [len(cores) for cores in places] == [2, 2, 2] and len(set.union(*places)) == 6


def test_one_member_at_a_time_on_an_accelerator(monkeypatch):
    monkeypatch.setattr(room, "_is_on_cpu", lambda: False)
    monkeypatch.setattr(room, "_cores", lambda: [*range(8)])
    assert room.slots(room.Needs(1, 0.1), 99) == [set(range(8))]


def test_a_container_bounds_the_memory(monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  1000 kB\n")
    monkeypatch.setattr(room, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(room, "CGROUP", tmp_path)
    assert room.free_memory() == 1024_000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("100\n")
    assert room.free_memory() == 1024_000
    (tmp_path / "memory.max").write_text("5100\n")
    assert room.free_memory() == 5000
    (tmp_path / "meminfo").unlink()
    (tmp_path / "memory.max").unlink()
    assert room.free_memory() is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process")
def test_a_member_runs_on_its_cores(tmp_path, monkeypatch):
    core = min(os.sched_getaffinity(0))
    monkeypatch.setattr(engines, "slots", lambda needs, number: [{core}])
    code = "import os; print(sorted(os.sched_getaffinity(0)))"
    command = (sys.executable, "-c", code)
    task = Task("one", command, tmp_path / "one/output.txt", tmp_path)
    before = os.sched_getaffinity(0)
    assert [*engines.in_processes([task], room.Needs(1, 1.0))] == [(task, 0)]
    assert (tmp_path / "one/output.txt").read_text() == f"[{core}]\n"
    assert os.sched_getaffinity(0) == before


def test_a_killed_member_has_the_signal_for_its_code(tmp_path):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    task = Task("one", (sys.executable, "-c", code), tmp_path / "o/output.txt", tmp_path)
    assert conduct(task) == -signal.SIGKILL
    from experiments.sweeps.sweep import _reason

    assert "killed by SIGKILL, as where memory runs out" in _reason(task.output, -signal.SIGKILL)


# Ray


def test_without_ray_its_engine_is_refused(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["counting", "--engine", "ray"]) == 2
    assert capsys.readouterr().err == (
        "error: `engine`: Ray is not installed: pip install 'jfractal[ray]', or leave `--engine` "
        "out\n"
    )
    assert not Path("runs").exists()


@pytest.mark.slow
def test_ray_runs_what_processes_run(tmp_path, capsys):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    out = tmp_path / "sweep"
    flags = ["--grid", "end=well,nan", "--memory", "0.1", "--out", str(out)]
    code = SWEEP  # in a process of its own, which Ray leaves threads and warnings in
    done = subprocess.run(
        [sys.executable, "-c", code, "counting", "--engine", "ray", *flags],
        cwd=ROOT,
        env=os.environ | {"RAY_worker_niceness": "0"},  # else they wait for all other tests
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 1, done.stderr
    assert [*statuses(out).values()] == ["done", "failed"]
    assert done.stdout.splitlines()[-1] == str(out)
    assert "| 3 " in (out / "summary.md").read_text()


# Summary


def made(rows, **values):
    return Member("_".join(map(str, values.values())), values, ()), rows


def tabled(tmp_path, *members, fields=("stride",)):
    places = []
    for member, rows in members:
        place = tmp_path / member.label
        place.mkdir()
        (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        places.append((member, place))
    return summary.table(summary.tidy(places), fields)


def test_the_mean_is_over_seeds(tmp_path):
    row = lambda value: [{"method": "MAP", "metric": "nll", "value": value}]
    values = [1.0, 2.0, 4.0]
    members = [made(row(value), stride=1, seed=seed) for seed, value in enumerate(values)]
    found = tabled(tmp_path, *members, made(row(7.0), stride=2, seed=0))
    assert found.columns == ["figure", "method", "stride", "mean ± standard error", "n"]
    error = np.std(values, ddof=1) / np.sqrt(3)
    assert found.rows == [
        ["NLL (nats)", "MAP", 1, f"2.333 ± {error:.2g}", 3],
        ["NLL (nats)", "MAP", 2, "7", 1],
    ]


def test_intervals_within_a_member_are_left_out(tmp_path):
    figures = {"nll": 1.0, "nll_lower": 0.9, "nll_upper": 1.1, "regret_lower": 2.0}
    rows = [{"metric": metric, "value": value} for metric, value in figures.items()]
    found = tabled(tmp_path, made(rows, stride=1, seed=0), made(rows, stride=1, seed=1))
    assert [row[0] for row in found.rows] == ["NLL (nats)", "regret lower"]


def test_repetitions_within_a_member_share_its_seed(tmp_path):
    """Six values of two members are two independent ones, the means 2 and 6."""
    rows = lambda values: [
        {"metric": "rmse", "value": value, "split": split} for split, value in enumerate(values)
    ]
    of_two = tabled(
        tmp_path, made(rows([1, 2, 3]), seed=0), made(rows([5, 6, 7]), seed=1), fields=()
    )
    assert of_two.rows == [["RMSE", "4 ± 2", 2]]
    alone = summary.table(
        [{"member": "a", "metric": "rmse", "value": v, "split": i} for i, v in enumerate([1, 3])],
        (),
    )
    assert alone.rows == [["RMSE", "2 ± 1", 2]]


def test_words_and_truth_values_are_no_figures(tmp_path):
    rows = [
        {"metric": "checksum", "value": "ab"},
        {"metric": "converged", "value": True},
        {"metric": "depth", "value": 3},
    ]
    assert tabled(tmp_path, made(rows, stride=1, seed=0)).rows == [
        ["convolutions in series", 1, "3", 1]
    ]


def test_cells_of_one_figure_stand_below_each_other(tmp_path):
    rows = lambda: [{"metric": m, "value": 1.0} for m in ("nll", "accuracy")]
    found = tabled(tmp_path, made(rows(), stride=1, seed=0), made(rows(), stride=2, seed=0))
    assert [(row[0], row[1]) for row in found.rows] == [
        ("NLL (nats)", 1),
        ("NLL (nats)", 2),
        ("accuracy", 1),
        ("accuracy", 2),
    ]
    text = summary.markdown(found)
    assert len({len(line) for line in text.splitlines()}) == 1
