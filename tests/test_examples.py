"""The examples of docstrings run: those with a prompt show what comes out."""

import doctest
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest

import jfractal as jf
from tests.test_api_pages import OBJECTS
from tests.test_guide import DOCS, blocks

PACKAGE = Path(__file__).parent.parent / "jfractal"
PROMPTED = [
    path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")
]
EXAMPLE = re.compile(r"^Examples?:\n((?: +.*\n|\n)+)", re.MULTILINE)
ELSEWHERE = {"jfractal.training.callbacks.WeightsAndBiases": "writes to a service"}
"""Examples that cannot run here, and why; what they say is Python."""


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("path", PROMPTED, ids=module_of)
def test_what_a_prompt_shows_comes_out(path):
    module = importlib.import_module(module_of(path))
    names = vars(module) | {"jf": jf, "jax": jax, "np": np}
    finder = doctest.DocTestFinder()
    examples = [t for t in finder.find(module, extraglobs=names) if t.examples]
    assert examples
    for example in examples:
        assert doctest.DocTestRunner().run(example).failed == 0, example.name


def examples():
    for value in OBJECTS.values():
        members = [x for x in vars(value).values() if inspect.isfunction(x)]
        for x in (value, *(members if inspect.isclass(value) else ())):
            for found in EXAMPLE.findall((inspect.getdoc(x) or "") + "\n"):
                code = found.rpartition("::\n")[2]  # what stands before it is prose
                if ">>> " not in code:
                    yield pytest.param(textwrap.dedent(code), id=f"{x.__module__}.{x.__qualname__}")


@pytest.fixture(scope="module")
def given():
    """What the page on the API says that examples take for granted."""
    names = {}
    for block in blocks((DOCS / "api" / "index.md").read_text(encoding="utf-8")):
        exec(block, names)
    return names


@pytest.mark.slow
@pytest.mark.parametrize("code", [*examples()])
def test_an_example_runs(code, given, request, tmp_path, monkeypatch):
    program = compile(code, "example", "exec")
    if request.node.callspec.id not in ELSEWHERE:
        monkeypatch.chdir(tmp_path)
        exec(program, dict(given))
