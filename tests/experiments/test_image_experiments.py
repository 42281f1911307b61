"""The image experiments as a whole: stand-in data, interruption, what they refuse."""

import json

import pytest

from experiments.__main__ import main
from experiments.run import Run


@pytest.fixture
def no_cifar(monkeypatch, tmp_path):
    monkeypatch.delenv("JFRACTAL_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("JFRACTAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def result_of(directory):
    result = json.loads((directory / "result.json").read_text())
    return {k: v for k, v in result.items() if "seconds" not in k and k != "resumed"}


def test_without_cifar_it_runs_on_digits_and_says_so(no_cifar, tmp_path):
    with pytest.warns(UserWarning, match="CIFAR-10 is not available") as warned:
        assert main(["cifar_fractal", "--quick", "--out", str(tmp_path / "run")]) == 0
    assert len(warned) == 1
    result = result_of(tmp_path / "run")
    assert result["dataset_requested"] == "cifar10"
    assert result["dataset"].startswith("digits")
    report = (tmp_path / "run" / "report.html").read_text()
    assert "<strong>NOT</strong> on cifar10 as requested" in report


def test_strict_refuses_to_run_on_digits(no_cifar, tmp_path, capsys):
    flags = ["--quick", "--data.strict", "--out", str(tmp_path / "run")]
    assert main(["cifar_fractal", *flags]) == 2
    assert "CIFAR-10 is not available" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_interrupted_and_resumed_is_uninterrupted(tmp_path, monkeypatch):
    """Stopped at row 18, within the second epoch of the second of two nets (12 rows each)."""
    flags = ["digits_fractal", "--quick", "--data.num-train", "200", "--train.num-epochs", "3"]
    flags += ["--model.columns", "1", "--model.widths", "4", "--model.dropout", "0"]
    flags += ["--train.log-every", "1"]
    assert main([*flags, "--out", str(tmp_path / "whole")]) == 0
    log, seen = Run.log, []

    def interrupt(self, row):
        seen.append(row)
        if len(seen) == 18:
            raise KeyboardInterrupt
        log(self, row)

    monkeypatch.setattr(Run, "log", interrupt)
    assert main([*flags, "--out", str(tmp_path / "parts")]) == 130
    assert not (tmp_path / "parts" / "result.json").exists()
    monkeypatch.setattr(Run, "log", log)
    assert main([*flags, "--out", str(tmp_path / "parts"), "--resume"]) == 0
    assert result_of(tmp_path / "parts") == result_of(tmp_path / "whole")
    rows = [(tmp_path / d / "metrics.jsonl").read_text().splitlines() for d in ("parts", "whole")]
    assert {r for r in rows[0]} <= {r for r in rows[1]}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--model.columns", "0"], "`columns` must be at least 1, got 0"),
        (["--train.batch-size", "0"], "`batch_size` must be at least 1, got 0"),
        (["--train.num-epochs", "0"], "`num_epochs` must be at least 1, got 0"),
        (["--train.learning-rate", "0"], "`learning_rate` must be above 0"),
        (["--train.local-rate", "1"], "`local_rate` must be in [0, 1)"),
        (["--train.num-devices", "3"], "`num_devices` must be between 1 and 2"),
        (["--data.name", "cifar11"], "must be one of"),
        (["--data.num-validation", "0"], "`num_validation`"),
    ],
)
def test_bad_settings_take_one_sentence_and_leave_nothing(flags, said, tmp_path, capsys):
    name = ["--data.name", "digits"] if "--data.name" not in flags else []
    arguments = ["cifar_fractal", "--quick", *name, *flags, "--out", str(tmp_path / "run")]
    assert main(arguments) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ") and said in message
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_configuration(tmp_path, capsys):
    run = ["cifar_fractal", "--quick", "--data.name", "digits", "--out", str(tmp_path / "run")]
    flags = ["--model.widths", "4", "4", "--model.dropout", "0", "0"]
    assert main([*run, *flags]) == 0
    assert main([*run, "--resume"]) == 2
    assert "widths" in capsys.readouterr().err
