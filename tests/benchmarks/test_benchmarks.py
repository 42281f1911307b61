"""Rows, their file, and the check of an accelerator, as far as a CPU can try them."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import by_hand, gpu, half, lowerings, peers, rows, startup
from benchmarks.row import Row, device, write_json
from benchmarks.training import TINY
from jfractal.ops.processor import Processor

ROOT = Path(__file__).parents[2]
ROWS = rows.ROWS | by_hand.ROWS | startup.ROWS | half.ROWS


def test_row_says_what_it_reached_and_where():
    row = Row("speed", 2.0, 1.0, 2.0, "s", at_most=1.5)
    assert not row.is_reached
    assert "≤ 1.5" in str(row) and "missed" in str(row)
    assert row.device == device() and row.device.endswith("CPUs")


def test_file_is_written_whole(tmp_path):
    path = tmp_path / "results/rows.json"
    write_json({"rows": [Row("speed", 2.0, 1.0, 2.0, "s")], "tiny": True}, path)
    assert json.loads(path.read_text())["rows"][0]["ratio"] == 2
    assert list(path.parent.iterdir()) == [path]


def test_guide_shows_every_row_and_no_other():
    guide = (ROOT / "docs/speed.md").read_text()
    ours = guide.partition("Beside PyTorch")[0] + (ROOT / "docs/precision.md").read_text()
    shown = set(re.findall(r"^\| `(\w+)`", ours, re.MULTILINE))
    assert shown - set(peers.ROWS) == set(ROWS)


@pytest.mark.parametrize("name", ["svi_vs_numpyro", "ensemble_vs_optax"])
def test_row_by_hand_compares_like_with_like(name):
    row = ROWS[name](TINY)
    assert row.name == name and row.ours > 0 and row.other > 0


def test_a_row_of_bfloat16_says_whether_the_processor_has_units(monkeypatch):
    row = Row("speed", 2.0, 1.0, 2.0, "images/s", at_least=3.0)
    for name, reach, words in [
        ("amx_bf16", 3.0, "images/s, some processor (amx_bf16)"),
        ("avx2", None, "images/s, no matrix units: some processor (avx2)"),
    ]:
        monkeypatch.setattr(half, "processor", lambda name=name: Processor("some processor", name))
        row = half.where_there_are_units(replace(row, unit="images/s", at_least=3.0))
        assert (row.at_least, row.unit) == (reach, words)


@pytest.mark.parametrize("pixels", [2, None])
def test_lowerings_are_measured_by_candidate(pixels):
    layer = lowerings.Layer(2, pixels, 3 if pixels else 1, 4, 4)
    for result in lowerings.RESULTS:
        line = lowerings.measured(layer, result, rounds=1)
        assert line.seconds > 0 and set(line.ratios) == {"XLA", "single", "products"}
        assert line.chosen in str(line) and str(layer) in str(line)


def test_check_without_an_accelerator_is_refused():
    command = [sys.executable, "-m", "benchmarks.gpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: JAX finds no accelerator here; TINY=1 tries everything\n"


def test_check_goes_on_after_a_part_that_fails_and_keeps_what_there_is(tmp_path, monkeypatch):
    def fails(scale, left):
        """Says one thing, and fails."""
        yield {"first": 1}
        raise ValueError("no such thing")

    monkeypatch.setattr(gpu, "PARTS", {"broken": fails, "draws": gpu.draws})
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    path = tmp_path / "gpu.json"
    assert gpu.main(gpu.Options(tiny=True, json=path)) == 1
    found = json.loads(path.read_text())
    assert found["broken"]["first"] == 1
    assert found["broken"]["error"] == "ValueError: no such thing"
    assert {"1", "8", "64", "256"} <= found["draws"].keys()


@pytest.mark.slow
@pytest.mark.skipif("JFRACTAL_STRESS" not in os.environ, reason="minutes: make stress")
def test_check_runs_whole_on_a_cpu(tmp_path):
    path = tmp_path / "gpu.json"
    words = ["TINY=1", "NOENV=1", f"PYTHON={sys.executable}", f"ARGS=--json {path}"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(["make", "gpu-check", *words], cwd=ROOT, env=environment, text=True)
    assert done.returncode == 0
    found = json.loads(path.read_text())
    assert found["tests"]["passed"] > 0
    assert {"gpu_utilisation", "mc_predict"} <= found["rows"].keys()
    assert any("accuracy" in name for name in found["training"])
