import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def make(*words):
    return subprocess.run(
        ["make", "--no-print-directory", *words], cwd=ROOT, capture_output=True, text=True
    )


def test_help_is_the_default_and_names_every_public_target():
    lines = make().stdout.splitlines()
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony is not None
    assert [line.split()[1] for line in lines] == phony[1].split()


def test_experiment_without_a_name_says_so():
    done = make("experiment", "NAME=")
    assert done.returncode == 2
    assert done.stderr.startswith("error: which experiment? make experiment NAME=")


@pytest.mark.parametrize("accelerator", ["tpu", "abacus"])
def test_accelerator_that_is_not_there_is_refused(accelerator):
    done = make("experiment", "NAME=digits_fractal", f"ACCEL={accelerator}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: ACCEL={accelerator}: ")
    assert len(done.stderr.splitlines()) == 2  # the other is make's


def test_python_that_is_too_old_or_absent_is_refused():
    done = make("lint", "PYTHON=no-such-python")
    assert done.returncode == 2
    assert "error: PYTHON=no-such-python is no Python 3.11 or newer" in done.stderr


def test_up_to_date_venv_is_left_alone(tmp_path):
    version = platform.python_version()
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    (tmp_path / ".venv").mkdir()
    (tmp_path / f".venv/python-{version}").touch()
    (tmp_path / ".venv/ready").touch()
    question = ["make", "--question", ".venv/ready", f"PYTHON={sys.executable}"]
    assert subprocess.run(question, cwd=tmp_path).returncode == 0
    (tmp_path / ".venv/ready").unlink()
    assert subprocess.run(question, cwd=tmp_path).returncode == 1


@pytest.mark.parametrize("words", [[], ["CONSTRAINTS=/dev/null"]])
def test_what_is_installed_can_be_the_newest(words):
    done = make("--dry-run", "--always-make", ".venv/ready-cuda", "ACCEL=cuda", *words)
    given = words[0].partition("=")[2] if words else "constraints.txt"
    assert f"pip install -qq -c {given} -e" in done.stdout
