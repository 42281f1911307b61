"""What every registered experiment must keep to."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

import experiments
from experiments import registry
from experiments.__main__ import main
from experiments.run import Options

ROOT = Path(__file__).parents[2]
NAMES = [*registry.names(), "counting"]


def flags(config, prefix=""):
    """The flags of a configuration, with those of its parts."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from flags(value, f"{prefix}{field.name}.")
        else:
            yield f"--{prefix}{field.name}".replace("_", "-")


@pytest.mark.parametrize("name", NAMES)
def test_help_explains_every_flag(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main([name, "--help"])
    text = re.sub(r"[│|\s]+", " ", capsys.readouterr().out)
    for flag in flags(registry.load(name).PRESETS["laptop"]):
        assert re.search(rf" {flag}[ ,](?:(?!\(default: ).)+\. \(default: ", text), flag


@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_contract(name):
    experiment = registry.load(name)
    assert registry.summary(name)
    assert issubclass(experiment.Config, Options)
    assert experiment.PRESETS.keys() >= {"laptop", "paper", "quick"}
    assert all(isinstance(config, experiment.Config) for config in experiment.PRESETS.values())
    assert experiment.PRESETS["quick"].quick
    assert experiment.PRESETS["paper"].preset == "paper"


@pytest.mark.filterwarnings("ignore:.* is not available, this is:UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_quick_run_leaves_what_every_run_leaves(name, tmp_path):
    assert main([name, "--quick", "--out", str(tmp_path / "run")]) == 0
    directory = tmp_path / "run"
    result = json.loads((directory / "result.json").read_text())
    assert result["name"] == name
    assert all(isinstance(value, float | int | str | bool) for value in result.values())
    assert {"dataset", "dataset_requested"} <= result.keys()
    assert ("converged" in result) == any(key.startswith("reasons") for key in result)
    assert (directory / "report.html").read_text().startswith("<!doctype html>")
    assert json.loads((directory / "config.json").read_text())["config"]["quick"]
    assert (directory / "metrics.jsonl").read_text()
    assert list((directory / "figures").glob("*.png"))
    assert (directory / "checkpoints").is_dir()
    if parts := sorted((directory / "checkpoints").glob("*.npz")):
        goes_on_without(name, directory, parts)


def goes_on_without(name, directory, parts):
    """Killed before the last of its parts was written, the run comes to the same end."""
    rows = (directory / "metrics.jsonl").read_text()
    result = figures(directory)
    max(parts, key=lambda path: path.stat().st_mtime_ns).unlink()
    (directory / "result.json").unlink()
    assert main([name, "--quick", "--out", str(directory), "--resume"]) == 0
    assert figures(directory) == result
    assert (directory / "metrics.jsonl").read_text().count("\n") == rows.count("\n")


def figures(directory):
    result = json.loads((directory / "result.json").read_text())
    return {k: v for k, v in result.items() if "seconds" not in k and k != "resumed"}


@pytest.mark.parametrize("name", registry.names())
def test_data_that_may_not_be_at_hand_can_be_demanded(name):
    """In one spelling: ``--data.strict``."""
    config = registry.load(name).PRESETS["laptop"]
    builtin = {"regression_hmc", "sbc"}
    assert (getattr(getattr(config, "data", None), "strict", None) is False) == (
        name not in builtin
    )


@pytest.mark.parametrize("name", registry.names())
def test_the_net_can_be_trained_in_half_precision(name):
    """By ``--train.precision``, or ``--fit.precision`` where that is what the group is called."""
    config = registry.load(name).PRESETS["laptop"]
    group = "train" if hasattr(config, "train") else "fit"
    config.but(**{group: {"precision": "bfloat16"}})


def test_example_of_the_guide_is_an_experiment(tmp_path, monkeypatch):
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
    (tmp_path / "example.py").write_text(example)
    monkeypatch.setattr(experiments, "__path__", [str(tmp_path)])
    assert registry.listing() == "example  The mean of random numbers."
    assert main(["example", "--quick"]) == 0
