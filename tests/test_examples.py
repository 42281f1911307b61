"""The examples of docstrings: those with a prompt are run, all others name what exists."""

import ast
import doctest
import functools
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

PACKAGE = Path(__file__).parent.parent / "jfractal"
PROMPTED = [
    path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")
]
BLOCK = re.compile(r"^Examples?:\n((?: +.*\n|\n)+)", re.MULTILINE)


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


def blocks():
    for value in OBJECTS.values():
        members = [x for x in vars(value).values() if inspect.isfunction(x)]
        for x in (value, *(members if inspect.isclass(value) else ())):
            text = (inspect.getdoc(x) or "") + "\n"
            for found in BLOCK.findall(text):
                code = found.rpartition("::\n")[2]  # what stands before it is prose
                if ">>> " not in code:
                    yield pytest.param(textwrap.dedent(code), id=f"{x.__module__}.{x.__qualname__}")


@pytest.mark.parametrize("code", [*blocks()])
def test_an_example_is_python_and_its_names_exist(code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and (path := dotted(node)).startswith("jf."):
            functools.reduce(getattr, path.split(".")[1:], jf)


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
