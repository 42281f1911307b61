"""``--log``: where curves go beside metrics.jsonl."""

import json
import sys

import pytest

from experiments.__main__ import main
from experiments.loggers import OPENERS


def test_tensorboard_gets_the_curves_of_each_fit(tmp_path):
    assert main(["fitting", "--quick", "--log", "tensorboard", "--out", str(tmp_path)]) == 0
    (events,) = (tmp_path / "tensorboard").rglob("*events*")
    assert events.parent.name == "net"
    assert b"loss" in events.read_bytes()


def test_other_loggers_get_the_same_rows(tmp_path, monkeypatch):
    sent = []
    monkeypatch.setitem(OPENERS, "wandb", lambda directory, name: sent.append)
    assert main(["fitting", "--quick", "--log", "wandb", "--out", str(tmp_path)]) == 0
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert sent == [{k: v for k, v in row.items() if k != "net"} for row in logged]


@pytest.mark.parametrize(
    ("kind", "module", "package"),
    [("tensorboard", "tensorboardX", "tensorboardX"), ("wandb", "wandb", "wandb")],
)
def test_a_logger_that_is_not_installed_is_one_sentence(
    kind, module, package, tmp_path, monkeypatch, capsys
):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["counting", "--log", kind]) == 2
    error = capsys.readouterr().err
    assert error == f"error: `{package}` is not installed: pip install 'jfractal[{kind}]'\n"
    assert not (tmp_path / "runs").exists()


def test_a_run_may_go_on_with_another_logger(tmp_path):
    flags = ["counting", "--out", str(tmp_path)]
    assert main([*flags, "--end", "SIGINT", "--log", "tensorboard"]) == 130
    assert main([*flags, "--end", "SIGINT", "--resume"]) == 130
