import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import command, registry
from experiments.__main__ import main

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).parent / "fake"
MAIN = f"""
import sys, experiments
experiments.__path__.append({str(FAKE)!r})
from experiments.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def parse(*flags):
    return command.parse("counting", registry.load("counting"), list(flags))


def read(directory, name="result.json"):
    return json.loads((Path(directory) / name).read_text())


def test_no_flags_give_the_laptop_preset():
    assert parse() == registry.load("counting").PRESETS["laptop"]


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        (["--preset", "paper"], 1000),
        (["--preset=paper"], 1000),
        (["--quick"], 1),
        (["--preset", "paper", "--quick"], 1),
        (["--preset", "paper", "--steps", "5"], 5),
        (["--steps", "5", "--preset", "paper"], 5),
    ],
)
def test_flags_change_the_preset_they_name(flags, steps):
    assert parse(*flags).steps == steps


def test_flags_reach_nested_settings():
    config = parse("--counter.stride", "4", "--seed", "2", "--out", "there", "--quick")
    assert (config.counter.stride, config.seed, config.out) == (4, 2, Path("there"))
    assert config.quick


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        (["--counter.strid", "4"], "--counter.stride"),
        (["--preset", "huge"], "laptop"),
        (["--steps", "many"], "--steps"),
    ],
)
def test_wrong_flags_say_what_was_meant(flags, hint, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["counting", *flags])
    assert stop.value.code == 2
    assert hint in capsys.readouterr().err
    assert not Path("runs").exists()


def test_help_shows_note_and_flags(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["counting", "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "What the harness is tested with" in text
    assert "--counter.stride" in text
    assert "What is added at each step." in text
    assert "The one seed" in text


@pytest.mark.parametrize(
    ("argv", "code"), [([], 2), (["--quick"], 2), (["--help"], 0), (["--list"], 0)]
)
def test_without_a_name_the_experiments_are_listed(argv, code, capsys):
    assert main(argv) == code
    printed = capsys.readouterr()
    assert registry.listing() in (printed.err if code else printed.out)
    assert not (printed.out if code else printed.err)


def test_run_leaves_all_files_and_prints_its_directory_last(capsys):
    assert main(["counting", "--quick", "--seed", "5"]) == 0
    printed = capsys.readouterr()
    directory = Path(printed.out.splitlines()[-1])
    assert printed.err == ""
    assert printed.out.count(str(directory)) == 1
    assert printed.out.splitlines()[-2] == "On integers, the total is 1."
    assert {path.name for path in directory.iterdir()} == {
        *(".lock", "config.json", "metrics.jsonl", "rows.jsonl", "result.json", "report.html"),
        *("figures", "checkpoints"),
    }
    assert read(directory, "rows.jsonl") == {"metric": "total", "value": 1}
    assert (directory / "figures/the_count_1.png").read_bytes().startswith(b"\x89PNG")
    result = read(directory)
    assert result.pop("seconds") >= 0
    assert result == {
        "name": "counting",
        "dataset": "integers",
        "dataset_requested": "integers",
        "total": 1,
        "preset": "quick",
        "seed": 5,
        "device": read(directory, "config.json")["device"]["kind"],
        "resumed": False,
        "finding": "On integers, the total is 1.",
    }
    assert read(directory, "config.json")["command"] == (
        "python -m experiments counting --quick --seed 5"
    )


def test_report_says_that_other_data_stood_in(tmp_path):
    assert main(["counting", "--dataset", "primes", "--out", str(tmp_path / "run")]) == 0
    assert (
        "<strong>NOT</strong> on primes as requested" in (tmp_path / "run/report.html").read_text()
    )


def test_unknown_name_is_one_sentence(capsys):
    assert main(["countin"]) == 2
    assert capsys.readouterr().err == (
        "error: no experiment is named 'countin'; did you mean 'counting'?\n"
    )


def test_refused_input_is_one_sentence_and_leaves_nothing(tmp_path, capsys):
    assert main(["counting", "--end", "refused", "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == "error: `dataset` must be countable\n"
    assert not (tmp_path / "run").exists()


def test_unwritable_out_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["counting", "--out", str(tmp_path / "file" / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: `out`: cannot write to ")
    assert error.count("\n") == 1


def test_nan_is_an_error_and_not_a_result(tmp_path, capsys):
    assert main(["counting", "--end", "nan", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: `total` is nan, which is not a result\n"
    assert not (tmp_path / "result.json").exists()
    assert not (tmp_path / "report.html").exists()


def test_divergence_is_one_sentence_and_keeps_the_checkpoint(tmp_path, capsys):
    assert main(["counting", "--end", "diverged", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: the count is infinite at step 1\n"
    assert (tmp_path / "checkpoints/count").read_text() == "1"


def test_bug_keeps_its_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError):
        main(["counting", "--end", "bug", "--out", str(tmp_path)])


@pytest.mark.parametrize(("end", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_interrupt_says_how_to_continue(end, code, capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert main(["counting", "--end", end]) == code
    assert signal.getsignal(signal.SIGTERM) is before
    directory = next(Path("runs/counting").iterdir())
    message = capsys.readouterr().err.strip()
    assert message.endswith(f"-m experiments counting --end {end} --resume --out {directory}")
    assert (directory / "checkpoints/count").read_text() == "1"


def test_continuing_does_not_repeat_flags_that_are_there(tmp_path, capsys):
    flags = ["--end", "SIGINT", "--out", str(tmp_path)]
    assert main(["counting", *flags]) == 130
    assert capsys.readouterr().err.strip().endswith(f"{' '.join(flags)} --resume")
    assert main(["counting", *flags, "--resume"]) == 130
    assert capsys.readouterr().err.strip().endswith(f"{' '.join(flags)} --resume")


def test_resumed_run_goes_on_where_it_stopped(tmp_path):
    flags = ["counting", "--end", "SIGINT", "--out", str(tmp_path), "--steps", "2"]
    assert main(flags) == 130
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "total": 99}\n')  # logged after the last checkpoint
    assert main([*flags, "--resume"]) == 130
    assert main([*flags, "--resume"]) == 0
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["total"] for row in rows] == [1, 2]
    assert read(tmp_path)["resumed"]


def test_exit_codes_reach_the_shell():
    shell = [sys.executable, "-c", MAIN, "countin"]
    done = subprocess.run(shell, capture_output=True, text=True, env=None)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


def test_sigterm_from_outside_stops_a_run(tmp_path):
    shell = [sys.executable, "-c", MAIN, "counting", "--end", "never", "--out", str(tmp_path)]
    process = subprocess.Popen(
        shell, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "counting: loading JAX\n"
    assert "counting (laptop, seed 0)" in process.stdout.readline()
    assert process.stdout.readline() == "counting\n"
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "to continue:" in error
    assert "Traceback" not in error


def test_a_platform_that_is_not_there_is_refused_before_anything_is_written(tmp_path):
    command = [sys.executable, "-c", MAIN, "counting", "--out", str(tmp_path / "run")]
    environment = os.environ | {"JAX_PLATFORMS": "abacus"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: `JAX_PLATFORMS` must name a platform that is here, got")
    assert not (tmp_path / "run" / "config.json").exists()
