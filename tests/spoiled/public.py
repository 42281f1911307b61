"""The public names of the package, and which of them a call of a table runs."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import jfractal

__all__ = ["public_callables", "reached"]

# Top-level modules that the others are built of: what they hold is for nobody else.
INNER = {
    "arguments",
    "array_files",
    "concrete",
    "counts",
    "errors",
    "forked",
    "identity",
    "interrupts",
    "lock",
    "out_of_memory",
    "summary",
    "typing",
}


def public_callables() -> dict[str, Any]:
    """Functions and classes that take arguments, by one of their dotted names.

    Exceptions are left out.
    """
    outer = [name for _, name, _ in pkgutil.iter_modules(jfractal.__path__) if name not in INNER]
    modules = [importlib.import_module(f"jfractal.{name}") for name in outer]
    named = dict(pair for module in [jfractal, *modules] for pair in _of_module(module))
    first = {id(thing): name for name, thing in reversed(named.items())}
    return {name: named[name] for name in sorted(first.values())}


def _of_module(module: ModuleType) -> Iterator[tuple[str, Any]]:
    for name in _exported(module):
        thing = getattr(module, name)
        if isinstance(thing, ModuleType):
            yield from () if module is jfractal else _of_module(thing)
        elif _takes_arguments(thing):
            yield f"{module.__name__}.{name}", thing


def _takes_arguments(thing: Any) -> bool:
    is_ours = getattr(thing, "__module__", "").startswith(jfractal.__name__)
    is_class = inspect.isclass(thing) and not issubclass(thing, Exception)
    is_callable = is_class or inspect.isroutine(inspect.unwrap(thing))
    return is_ours and is_callable and bool(inspect.signature(thing).parameters)


def _exported(module: ModuleType) -> list[str]:
    """The names in ``__all__``; in a module without one, those imported as ``name as name``."""
    if hasattr(module, "__all__"):
        return module.__all__
    nodes = ast.walk(ast.parse(inspect.getsource(module)))
    imports = [alias for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names]
    return [alias.name for alias in imports if alias.asname == alias.name]


def reached(function: Callable[..., Any]) -> Iterator[Any]:
    """What of the package a function of a table is, belongs to, holds or names."""
    while isinstance(function, partial):
        function = function.func
    yield function
    owner = getattr(function, "__self__", None)
    if owner is not None:
        yield from owner.__mro__ if inspect.isclass(owner) else type(owner).__mro__
    if not getattr(function, "__module__", "").startswith("tests."):
        return
    code = function.__code__
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    for value in [*held, *(function.__defaults__ or ())]:
        yield type(value)
        if callable(value):
            yield from reached(value)
    scope = {name: function.__globals__.get(name) for name in code.co_names}
    for thing in list(scope.values()):
        yield thing
        yield from (getattr(thing, name, None) for name in code.co_names)
