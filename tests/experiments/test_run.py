import errno
import json
import math
import os
import platform
import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import registry, run
from experiments.run import Options, Run, finite
from jfractal.errors import DivergenceError, InputError
from tests.training.problems import KEY, MAP, PARAMS, X, Y


def begin(directory=None, name="counting", **settings):
    with Run.open(name, Options(out=directory, **settings), "the command") as made:
        return made


def resume(directory=None, **settings):
    return begin(directory, resume=True, **settings)


def test_default_directory_is_named_by_the_time_and_never_reused():
    first, second = (begin() for _ in range(2))
    assert re.fullmatch(r"runs/counting/\d{8}-\d{6}", str(first.directory))
    assert first.directory < second.directory


def test_record_has_all_that_is_known_at_the_start(tmp_path):
    record = begin(tmp_path / "a" / "b", seed=3).record
    assert record["name"] == "counting"
    assert record["command"] == "the command"
    assert record["seed"] == 3
    assert record["config"] == {"preset": "laptop", "quick": False, "seed": 3}
    assert record["versions"]["python"] == platform.python_version()
    assert record["versions"]["jax"] == jax.__version__
    assert set(record["versions"]) == {"python", *run.PACKAGES}
    assert record["device"]["platform"] == jax.default_backend()
    assert record["started"].startswith("20")


def test_commit_is_a_hash_or_none():
    commit = run._commit()
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", commit)


def test_commit_is_none_outside_git(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "__file__", str(tmp_path / "run.py"))
    assert run._commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run._commit() is None


def test_out_that_holds_a_run_is_refused_and_left_alone(tmp_path):
    begin(tmp_path).log({"step": 1})
    with pytest.raises(InputError, match="already holds a run"):
        begin(tmp_path)
    assert resume(tmp_path).rows() == [{"step": 1}]


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_out_that_cannot_be_written_is_refused(tmp_path, out):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"`out`: cannot write to .*file"):
        begin(tmp_path / out)


def test_log_appends_rows_that_rows_reads_back(tmp_path):
    made = begin(tmp_path)
    made.log({"step": 1, "loss": jnp.float32(0.5)})
    made.log({"step": 2, "loss": np.float64(0.25), "phase": "warm-up"})
    assert made.rows() == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 0.25, "phase": "warm-up"},
    ]


def test_rewind_drops_what_came_after_the_step(tmp_path):
    made = begin(tmp_path)
    made.log({"note": "rows without a step stay"})
    for step in range(5):
        made.log({"step": step})
    made.rewind(2)
    assert [row.get("step") for row in made.rows()] == [None, 0, 1, 2]


def test_resume_cuts_a_line_that_was_never_finished(tmp_path):
    begin(tmp_path).log({"step": 1})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    again = resume(tmp_path)
    again.log({"step": 2})
    assert again.rows() == [{"step": 1}, {"step": 2}]


def test_once_computes_once(tmp_path):
    tree = {"a": jnp.arange(3), "b": [np.float32(0.1), {"c": np.eye(2)}], "nll": 0.1}
    first = begin(tmp_path).once(lambda: tree, method="MAP (1)", step=0)
    assert isinstance(first["a"], np.ndarray) and first["nll"] == 0.1
    chex.assert_trees_all_equal(first, jax.device_get(tree))
    again = resume(tmp_path)
    chex.assert_trees_all_equal(again.once(pytest.fail, method="MAP (1)", step=0), first)
    assert again.once(lambda: 2.0, method="MAP (1)", step=1) == 2
    assert again.rows() == [{"method": "MAP (1)", "step": 0, "nll": 0.1}]


def test_once_drops_what_an_interrupted_part_has_logged(tmp_path):
    made = begin(tmp_path)

    def interrupted():
        made.log({"agent": "greedy", "step": 1})
        raise KeyboardInterrupt

    made.log({"agent": "other", "step": 1})
    with pytest.raises(KeyboardInterrupt):
        made.once(interrupted, agent="greedy")
    assert len(made.rows()) == 2
    assert resume(tmp_path).once(lambda: [1], agent="greedy") == [1]
    assert made.rows() == [{"agent": "other", "step": 1}]


def test_resume_takes_the_newest_run_of_the_name():
    begin()
    newest = begin()
    begin(name="other")
    Path("runs/counting/99999999-000000").mkdir()  # no run: it has no config.json
    assert resume().directory == newest.directory


def test_the_newest_run_is_the_last_even_if_the_clock_was_set_back(monkeypatch):
    begin()
    monkeypatch.setattr(run, "datetime", Yesterday)
    newest = begin()
    assert min(Path("runs/counting").iterdir()) == newest.directory
    os.utime(newest.directory / "config.json", (0, 0))
    assert resume().directory == newest.directory
    (newest.directory / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"`resume`: .* is damaged, mend it"):
        resume()
    assert begin().record["number"] == 2


class Yesterday(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) - timedelta(days=1)


def test_another_process_is_refused(tmp_path):
    message = "`out`: another process works in"
    with Run.open("counting", Options(out=tmp_path), ""):
        for again in (begin, resume):
            with pytest.raises(InputError, match=message):
                again(tmp_path)
    resume(tmp_path)


def test_no_row_is_lost_or_told_twice_if_a_validation_is_interrupted(tmp_path):
    calls = []

    def validation(posterior):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {"nll": float(jnp.square(posterior.mean()["Dense_0"]["kernel"]).sum())}

    def fitted(directory, **settings):
        options = {"num_steps": 9, "validate_every": 3, "log_every": 1, "name": "net"}
        with Run.open("fit", Options(out=directory, **settings), "") as made:
            made.fit(MAP, PARAMS, (X, Y), KEY, validation=validation, **options)
            return made.rows()

    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "a")
    assert fitted(tmp_path / "a", resume=True) == fitted(tmp_path / "b")
    assert [row["step"] for row in fitted(tmp_path / "a", resume=True)] == [
        *(1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9)
    ]


@pytest.mark.parametrize("out", [None, Path("elsewhere")])
def test_resume_without_a_run_is_refused(out):
    with pytest.raises(InputError, match="`resume`: there is no run"):
        resume(out)


def test_resume_with_other_settings_names_the_first_that_differs(tmp_path):
    config = registry.load("counting").PRESETS["laptop"]
    with Run.open("counting", replace(config, out=tmp_path), "the command"):
        pass
    changed = replace(config, counter=replace(config.counter, stride=7), end="nan")
    with pytest.raises(InputError, match=r"`counter\.stride` 1, not 7; .*the command"):
        Run.open("counting", replace(changed, out=tmp_path, resume=True), "").__enter__()


def test_resume_of_another_experiment_is_refused(tmp_path):
    begin(tmp_path)
    with pytest.raises(InputError, match="`name` 'counting', not 'other'"):
        resume(tmp_path, name="other")


def test_resume_on_another_device_warns(tmp_path, monkeypatch):
    begin(tmp_path)
    monkeypatch.setattr(run, "device", lambda: "4 x abacus")
    with pytest.warns(UserWarning, match="the run goes on on 4 x abacus"):
        resume(tmp_path)


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_write_leaves_the_old_file_if_it_fails(tmp_path, monkeypatch):
    made = begin(tmp_path)
    made.write("result.json", "old")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"cannot write .*result\.json: No space .* --resume"):
        made.write("result.json", "new")
    assert (tmp_path / "result.json").read_text() == "old"


def test_a_row_that_does_not_fit_is_named(tmp_path, monkeypatch):
    made = begin(tmp_path)
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(InputError, match=r"cannot write .*metrics\.jsonl: No space .* --resume"):
        made.log({"step": 1})


def test_discard_removes_a_run_that_has_nothing(tmp_path):
    begin(tmp_path / "run").discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", ["metrics.jsonl", "checkpoints/1", "figures/curve.png"])
def test_discard_keeps_a_run_that_has_something(tmp_path, kept):
    made = begin(tmp_path)
    made.write(kept, '{"step": 1}\n')
    made.discard()
    assert (tmp_path / kept).exists()
    assert made.record["name"] == "counting"


def test_discard_keeps_a_resumed_run(tmp_path):
    begin(tmp_path)
    resume(tmp_path).discard()
    assert (tmp_path / "config.json").exists()


def test_discard_keeps_files_of_others(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    begin(tmp_path).discard()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("value", [math.nan, math.inf, jnp.array(-jnp.inf), np.float32("nan")])
def test_finite_names_what_is_not(value):
    with pytest.raises(DivergenceError, match="`loss` is"):
        finite({"accuracy": 0.5, "loss": value})


def test_finite_gives_plain_values():
    values = finite({"a": jnp.int32(2), "b": np.bool_(True), "c": "text", "d": 0.5})
    assert json.loads(json.dumps(values)) == {"a": 2, "b": True, "c": "text", "d": 0.5}
