"""The package as people get it: wheel and sdist, installed where there is no checkout."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import jfractal as jf

ROOT = Path(__file__).parent.parent
CORNERS = ["3.11", "3.13"]
PROBE = """
import importlib.util, json, sys
from importlib import metadata, resources
import jfractal as jf
print(json.dumps({
    "file": jf.__file__,
    "versions": [jf.__version__, metadata.version("jfractal")],
    "data": sorted(x.name for x in resources.files("jfractal").iterdir() if "." in x.name),
    "cited": jf.citation(jf.FractalNet(10)),
    "drawn": jf.viz.curves.__module__,
    "beside": [importlib.util.find_spec(name) is None for name in ("experiments", "tests")],
}))
"""


def build(source, directory, *targets):
    """Builds with what is installed, without a network."""
    pytest.importorskip("hatchling.build", reason="hatchling, which builds, is not installed")
    pytest.importorskip("hatch_fancy_pypi_readme", reason="the README's plugin is not installed")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(directory), *targets]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return directory


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("jfractal-*.whl")
    return path


def names(path):
    with zipfile.ZipFile(path) as archive:
        return {name for name in archive.namelist() if not name.endswith("/RECORD")}


@pytest.mark.slow
def test_the_wheel_imports_where_there_is_no_checkout(wheel, tmp_path):
    pytest.importorskip("pip", reason="pip, which installs, is not installed")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
    subprocess.run([*command, "--no-index", "--quiet", str(wheel)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    # The dependencies of these tests, without what is installed for development.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    run = subprocess.run(
        [str(python), "-I", "-c", PROBE],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert Path(found["file"]).is_relative_to(site)
    assert found["versions"] == [jf.__version__] * 2
    assert {"bibliography.bib", "py.typed"} <= set(found["data"])
    assert "larsson2017" in found["cited"] and found["drawn"].startswith("jfractal.viz")
    assert found["beside"] == [True, True]


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    package = (path for path in (ROOT / "jfractal").rglob("*") if path.is_file())
    expected = {p.relative_to(ROOT).as_posix() for p in package if "__pycache__" not in p.parts}
    inside = names(wheel)
    assert {name for name in inside if ".dist-info/" not in name} == expected
    with zipfile.ZipFile(wheel) as archive:
        (about,) = (name for name in inside if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(about).decode()
    assert f"\nVersion: {jf.__version__}\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert not re.search(r"\]\((?!https?:)", metadata)  # a link to a file that is not there
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in inside)


@pytest.mark.slow
def test_the_sdist_makes_the_same_wheel(built, wheel, tmp_path):
    (sdist,) = built.glob("jfractal-*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    for name in ("experiments", "tests", "docs", "notebooks", "Makefile", "constraints.txt"):
        assert (source / name).exists(), name
    (again,) = build(source, tmp_path / "dist", "-t", "wheel").glob("*.whl")
    assert names(again) == names(wheel)


def test_one_version_stands_everywhere():
    read = lambda name: (ROOT / name).read_text(encoding="utf-8")
    places = {
        "CITATION.cff": rf"^version: {re.escape(jf.__version__)}$",
        "docs/how_to/cite.md": rf"version = \{{{re.escape(jf.__version__)}\}}",
        "docs/versions.md": rf"It is at {re.escape(jf.__version__)}:",
        "jfractal/bibliography.bib": rf"version = \{{{re.escape(jf.__version__)}\}}",
    }
    for name, pattern in places.items():
        assert re.search(pattern, read(name), flags=re.MULTILINE), name
    assert tomllib.loads(read("pyproject.toml"))["project"]["version"] == jf.__version__


@pytest.mark.parametrize("name", ["ci", "weekly"])
def test_a_workflow_runs_all_checks_in_both_corners(name):
    yaml = pytest.importorskip("yaml", reason="PyYAML, of the extra `docs`, is not installed")
    workflow = yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text("utf-8"))
    (job,) = workflow["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == CORNERS
    assert next(step["run"] for step in job["steps"] if "run" in step) == ".ci/run"
    # What it is called with must be what the Makefile listens to.
    constraints = job.get("env", {}).get("CONSTRAINTS", "constraints.txt")
    assert constraints == {"ci": "constraints.txt", "weekly": "/dev/null"}[name]
    assert "CONSTRAINTS ?= constraints.txt" in (ROOT / "Makefile").read_text("utf-8")


def test_the_corners_are_those_that_the_page_names():
    table = (ROOT / "docs/versions.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \w+ tested \| (3\.\d+) ", table, flags=re.MULTILINE) == CORNERS
