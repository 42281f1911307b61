"""What the README shows, runs; what it links to, is there; it is short."""

import contextlib
import io
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
OUTPUT = re.search(r"```text\n(.*?)```", README, flags=re.DOTALL)[1]
LINK = r"\]\((?!https?:)(.*?)\)"
MOST_WORDS = 1200


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d+\.?\d*", text)]


def test_examples_run_as_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed), np.printoptions():
        exec(BLOCKS[0], names)
    # Rounding differs from one version of JAX to another, and grows in a thousand steps.
    np.testing.assert_allclose(numbers(printed.getvalue()), numbers(OUTPUT), atol=0.05)
    assert len(printed.getvalue().splitlines()) == len(OUTPUT.splitlines())
    assert np.argmax(names["p"].epistemic) == 1  # least sure at the boundary
    names |= {"images": names["jax"].random.normal(names["key"], (2, 32, 32, 3))}
    exec(BLOCKS[1], names)
    assert (tmp_path / "block.svg").exists()


def test_the_first_example_is_five_lines_behind_data_and_a_net():
    _, five = BLOCKS[0].split("# yours, not ours\n")
    assert len([line for line in five.splitlines() if line.strip()]) == 5


def test_it_is_read_in_two_minutes():
    assert len(README.split()) <= MOST_WORDS


def test_links_and_pictures_are_there():
    for link in re.findall(LINK, README):
        assert (ROOT / link).exists(), link


def test_a_package_index_is_shown_no_link_into_the_sources():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shown = README
    for change in project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"][
        "substitutions"
    ]:
        shown = re.sub(change["pattern"], change["replacement"], shown)
    assert not re.findall(LINK, shown)
    assert len(re.findall(r"\(https?:", shown)) == len(re.findall(r"\(https?:", README))


def test_the_workflow_is_drawn_by_its_script(tmp_path):
    script = tmp_path / "workflow.py"
    script.write_bytes((ROOT / "docs" / "workflow.py").read_bytes())
    subprocess.run([sys.executable, script], check=True, cwd=ROOT)
    made = (tmp_path / "workflow.svg").read_text(encoding="utf-8")
    assert made == (ROOT / "docs" / "workflow.svg").read_text(encoding="utf-8")
