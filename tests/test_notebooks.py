"""The notebooks are what their scripts say, and run from start to end in a real kernel."""

import importlib.util
import os
import re
import subprocess
import sys

import nbformat
import pytest

from notebooks.__main__ import HERE, SCRIPTS, unrun

ROOT = HERE.parent
MOST_BYTES = 600_000  # that a code host still shows
NAMES = sorted(SCRIPTS)


def read(path):
    return nbformat.read(path, as_version=4)


def sources(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def setup_cell():
    return code(unrun("quickstart"))[0].source


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_is_what_its_script_says(name):
    path = HERE / f"{name}.ipynb"
    made = read(path)
    assert sources(made) == sources(unrun(name)), f"run: make notebooks ARGS={name}"
    assert path.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_shows_what_came_out(name):
    cells = code(read(HERE / f"{name}.ipynb"))
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if "Figure size" in str(output.get("text"))]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_runs_from_start_to_end(name, tmp_path):
    environment = os.environ | {"JFRACTAL_QUICK": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "notebooks", name, "--directory", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sources(read(tmp_path / f"{name}.ipynb")) == sources(unrun(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_notebook_can_install_jfractal(name, setup_cell):
    cells = code(unrun(name))
    where = [cell.source for cell in cells].index(setup_cell)
    assert not any("import jax" in cell.source for cell in cells[:where])


def test_without_an_address_the_first_cell_says_so(setup_cell, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="set ADDRESS above to where your copy of it is"):
        exec(setup_cell, {})


def test_without_a_network_the_first_cell_says_so(setup_cell, monkeypatch):
    commands = []

    def fails(command):
        commands.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", fails)
    address = setup_cell.replace('ADDRESS = ""', 'ADDRESS = "file:///nowhere"')
    with pytest.raises(SystemExit, match="is there a network") as stopped:
        exec(address, {})
    assert str(stopped.value).count("\n") == 0
    assert commands[0][-1] == "jfractal[data,equinox] @ file:///nowhere"


def test_all_are_listed():
    for page in (HERE / "README.md", ROOT / "README.md"):
        linked = re.findall(r"\((?:notebooks/)?(\w+)\.ipynb\)", page.read_text(encoding="utf-8"))
        assert sorted(linked) == NAMES, page


def test_an_unknown_name_is_named():
    command = [sys.executable, "-m", "notebooks", "nosuch"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "there is no nosuch" in done.stderr
    assert "quickstart" in done.stderr
