"""Every public name has an entry in the API pages, and a docstring that says what one needs."""

import ast
import importlib
import inspect
import re
import types
from pathlib import Path

import pytest

PAGES = Path(__file__).parent.parent / "docs" / "api"
MODULES = [
    "jfractal",
    *(
        f"jfractal.{name}"
        for name in (
            "anytime",
            "data",
            "inference",
            "inference.kl_weight",
            "likelihoods",
            "metrics",
            "nn",
            "ops",
            "posterior",
            "predict",
            "predictions",
            "priors",
            "reference",
            "testing",
            "topology",
            "training",
            "viz",
        )
    ),
]


def public_names(module):
    """What a module offers: its ``__all__``, or what it imports under its own name."""
    if listed := getattr(module, "__all__", None):
        return list(listed)
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    imported = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [a.asname for node in imported for a in node.names if a.asname == a.name]


def resolved(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


ENTRIES = {
    path
    for page in PAGES.glob("*.md")
    for path in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
}
NAMES = [
    (module, name)
    for module in MODULES
    for name in public_names(importlib.import_module(module))
    if not isinstance(resolved(f"{module}.{name}"), types.ModuleType)
]
OBJECTS = {
    id(x): x
    for x in (resolved(f"{module}.{name}") for module, name in NAMES)
    if inspect.isclass(x) or inspect.isfunction(x)
}
EXAMPLES = "\n".join(
    block
    for page in PAGES.glob("*.md")
    for block in re.findall(r"```python.*?\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
)
FUNCTIONS = [x for x in OBJECTS.values() if inspect.isfunction(x)]


@pytest.mark.parametrize(("module", "name"), NAMES, ids=lambda x: x)
def test_a_public_name_has_an_entry(module, name):
    value = resolved(f"{module}.{name}")
    same = {path for path in ENTRIES if path.endswith(f".{name}") and resolved(path) is value}
    assert same, f"{module}.{name} is on no page of docs/api"


def test_an_entry_stands_on_one_page():
    found = [
        path
        for page in PAGES.glob("*.md")
        for path in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(found) == len(set(found))


@pytest.mark.parametrize(("module", "name"), NAMES, ids=lambda x: x)
def test_a_public_function_or_class_has_an_example(module, name):
    """In its docstring, or on the pages, where the guides' test runs it."""
    value = resolved(f"{module}.{name}")
    if id(value) not in OBJECTS:
        return  # a constant, or the name of a type
    if re.search(r"^Examples?:$", inspect.getdoc(value) or "", re.MULTILINE):
        return
    use = rf"\.{name}\(" if inspect.isfunction(value) else rf"\b{name}\b"
    assert re.search(use, EXAMPLES), f"{module}.{name} has no example"


@pytest.mark.parametrize("value", OBJECTS.values(), ids=lambda x: f"{x.__module__}.{x.__name__}")
def test_a_docstring_begins_with_a_sentence(value):
    summary = (inspect.getdoc(value) or "").partition("\n\n")[0]
    assert summary.endswith((".", "``", ":", "::")), summary
    if value.__module__.startswith("jfractal"):
        assert value.__doc__, value


@pytest.mark.parametrize("value", FUNCTIONS, ids=lambda x: f"{x.__module__}.{x.__name__}")
def test_a_function_says_what_goes_in_and_what_comes_out(value):
    """The summary is enough where one argument, or none, becomes what the summary names."""
    text = inspect.getdoc(value) or ""
    signature = inspect.signature(value)
    if len(signature.parameters) > 1:
        assert "Args:" in text
        is_silent = signature.return_annotation in (None, "None")
        assert is_silent or "Returns:" in text or "Yields:" in text
