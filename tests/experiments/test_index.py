"""The index of runs: what is read of a run, and what is said of a broken one."""

import json
import shutil

import pytest

from experiments.report.__main__ import main
from experiments.report.index import write_index
from experiments.report.runs import POINTS, entries, sweeps
from tests.experiments.made_runs import RECORD, RESULT, write


def test_an_entry_is_what_the_files_of_a_run_say(tmp_path):
    write(tmp_path / "digits/1")
    (entry,), amiss = entries(tmp_path)
    assert amiss == []
    assert entry.path == "digits/1" and entry.report == "digits/1/report.html"
    assert (entry.begun, entry.took) == ("26 November 2026, 06:48", "12 min 36 s")
    assert (entry.dataset, entry.preset) == ("digits", "laptop")
    assert entry.figures == {"accuracy": 0.98}
    assert entry.config["train.num_epochs"] == 3 and entry.config["version of jax"] == "0.10.2"
    assert entry.curves == {"MAP: loss": ([0.0, 0.5, 1.0], [3.0, 2.0, 1.0])}


def test_the_newest_comes_first(tmp_path):
    for name, month in (("a", 3), ("b", 11), ("c", 7)):
        write(tmp_path / name / "1", RECORD | {"started": f"2026-{month:02}-01T00:00:00+00:00"})
    assert [entry.path for entry in entries(tmp_path)[0]] == ["b/1", "c/1", "a/1"]


def test_long_curves_are_averaged_to_few_points(tmp_path):
    write(tmp_path / "digits/1", losses=range(10 * POINTS))
    (entry,), _ = entries(tmp_path)
    xs, ys = entry.curves["MAP: loss"]
    assert len(xs) == len(ys) == POINTS
    assert ys[0] == 4.5 and xs[0] == 2.25


def damage(path, how):
    match how:
        case "missing":
            path.unlink()
        case "directory":
            path.unlink()
            path.mkdir()
        case "binary":
            path.write_bytes(b"\xff\xfe\x00")
        case _:
            path.write_text(how)


@pytest.mark.parametrize(
    ("file", "how", "said", "is_kept"),
    [
        ("config.json", "missing", "is missing: this is not a run", False),
        ("config.json", "{", "is damaged", False),
        ("config.json", "[]", "is damaged: it holds no object", False),
        ("config.json", '{"name": 3}', "is damaged: its `name` is 3", False),
        ("config.json", json.dumps(RECORD | {"started": "noon"}), "is damaged", False),
        ("config.json", "binary", "is damaged", False),
        ("config.json", "[" * 100_000, "is damaged", False),
        ("result.json", "missing", "is missing: the run goes on or was interrupted", True),
        ("result.json", "", "is damaged", True),
        ("result.json", '{"accuracy": NaN}', "is damaged: its `accuracy` is nan", True),
        ("result.json", '{"accuracy": [1]}', "is damaged: its `accuracy` is [1]", True),
        ("result.json", '{"seconds": "long"}', "is damaged: its `seconds` is 'long'", True),
        ("result.json", '{"dataset": 3}', "is damaged: its `dataset` is 3", True),
        ("result.json", "directory", "is damaged", True),
        ("metrics.jsonl", "missing", "is missing: there are no training curves", True),
        ("metrics.jsonl", '{"step": 1}\n{"st\n{"step": 2}\n', "is damaged", True),
    ],
)
def test_a_broken_run_is_named_in_a_sentence_and_the_rest_goes_on(
    file, how, said, is_kept, tmp_path, capsys
):
    write(tmp_path / "good/1")
    damage(write(tmp_path / "bad/1") / file, how)
    found, amiss = entries(tmp_path)
    assert sorted(entry.name for entry in found) == ["digits"] * (1 + is_kept)
    (sentence,) = amiss
    assert sentence.startswith(str(tmp_path / "bad/1" / file)) and said in sentence
    assert sentence.endswith(".") and "\n" not in sentence
    assert main([str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.err == f"warning: {sentence}\n"
    assert printed.out == f"{tmp_path / 'index.html'}\n"
    assert "bad/1" in (tmp_path / "index.html").read_text().split("</form>")[0]


def test_a_row_that_is_being_written_is_not_amiss(tmp_path):
    directory = write(tmp_path / "digits/1")
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    assert entries(tmp_path)[1] == []


def test_sweeps_are_listed_with_their_pages(tmp_path):
    members = [{"directory": f"seed-{i}", "status": s} for i, s in enumerate(["done", "failed"])]
    record = {"name": "digits", "command": "python -m experiments.sweeps digits --seeds 2"}
    for moment in ("20261126-1", "20261127-1"):
        place = tmp_path / f"digits-sweep-{moment}"
        place.mkdir()
        (place / "sweep.json").write_text(json.dumps({**record, "members": members}))
    (place / "report.html").write_text("")
    (tmp_path / "bad-sweep-1").mkdir()
    (tmp_path / "bad-sweep-1/sweep.json").write_text('{"name": "digits"}')
    found, amiss = sweeps(tmp_path)
    assert [entry.report for entry in found] == ["digits-sweep-20261127-1/report.html", ""]
    assert {(entry.done, entry.total) for entry in found} == {(1, 2)}
    (sentence,) = amiss
    assert sentence == f"{tmp_path / 'bad-sweep-1/sweep.json'} is damaged: 'members'."
    page, _ = write_index(tmp_path)
    assert '<a href="digits-sweep-20261127-1/report.html">digits</a></td><td>1 of 2' in (
        page.read_text()
    )


def test_files_beside_the_runs_are_nobodys_business(tmp_path):
    write(tmp_path / "digits/1")
    (tmp_path / "gpu.json").write_text("{")
    (tmp_path / "digits/notes.txt").write_text("mine")
    found, amiss = entries(tmp_path)
    assert len(found) == 1 and amiss == []


def test_text_in_a_run_stays_text(tmp_path):
    evil = "</script><script>alert(1)</script>"
    write(tmp_path / "digits/1", RECORD | {"name": evil}, RESULT | {"dataset": evil})
    shutil.rmtree(write(tmp_path / "bad/1"))
    write(tmp_path / "bad/<b>").joinpath("config.json").unlink()
    assert main([str(tmp_path)]) == 0
    page = (tmp_path / "index.html").read_text()
    assert "<script>alert" not in page and "<b>" not in page


@pytest.mark.parametrize("argv", [["--all"], ["a", "b"]])
def test_more_than_a_directory_is_refused(argv, capsys):
    assert main(argv) == 2
    assert capsys.readouterr().err.startswith("usage: ")


def test_a_directory_without_runs_is_one_sentence(tmp_path, capsys):
    assert main([]) == 2  # there is no runs/ here
    assert capsys.readouterr().err == (
        "error: there are no runs in runs: run an experiment first\n"
    )
    assert main([str(tmp_path)]) == 0  # an empty one has a page without runs
