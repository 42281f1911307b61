"""What two functions have in common that were made alike: a key, by which to compile once."""

from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Generic, TypeVar

import jax
import numpy as np

__all__ = ["ByContent", "key_of"]

Value = TypeVar("Value")


class ByContent(Generic[Value]):
    """A value that is equal to others of equal content: a static argument of `jax.jit`.

    ``optax.adam(1e-3)`` is a new pair of functions at every call, and so is a bound method or a
    lambda; `jax.jit` compiles for each anew. By content they are the same, see `key_of`.

    Attributes:
        value: The value.
    """

    __slots__ = ("_hash", "_key", "value")

    def __init__(self, value: Value):
        self.value = value
        self._key = key_of(value)
        self._hash = hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByContent) and self._key == other._key

    def __hash__(self) -> int:
        return self._hash


class _Same:
    """Equal to itself alone; holds on to the object, so that its identity is not given away."""

    __slots__ = ("held",)

    def __init__(self, held: Any):
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.held is other.held

    def __hash__(self) -> int:
        return id(self.held)


def key_of(x: Any) -> Hashable:
    """A key that is equal for values of equal content.

    A function is its code, what it closes over, its defaults and, outside installed packages, the
    global names that it reads; a dataclass is its type and its fields; arrays and all that is
    unknown are equal to themselves only.

    Args:
        x: Any value.

    Returns:
        The key.
    """
    return _key(x, ())


def _key(x: Any, above: tuple[int, ...]) -> Hashable:
    if id(x) in above:  # a function that closes over itself
        return "recursion", len(above) - above.index(id(x))
    within = (*above, id(x))
    inner = lambda value: _key(value, within)
    match x:
        case FunctionType():
            return _function(x, inner)
        case MethodType():
            return "method", inner(x.__func__), inner(x.__self__)
        case partial():
            return "partial", inner(x.func), inner(x.args), inner(x.keywords)
        case jax.Array() | np.ndarray() | ModuleType() | type() | BuiltinFunctionType():
            return _Same(x)
        case tuple() | list():
            return type(x), tuple(map(inner, x))
        case Mapping():
            return type(x), tuple((inner(k), inner(v)) for k, v in x.items())
        case _ if is_dataclass(x):
            # A Flax module knows its parent, which is no part of what it computes.
            names = [f.name for f in fields(x) if f.name != "parent"]
            return type(x), tuple((name, inner(getattr(x, name, None))) for name in names)
    try:
        hash(x)
    except TypeError:
        return _Same(x)
    # 1, 1.0 and True are equal, and compile to different programs.
    return type(x), x


def _function(function: FunctionType, inner: Any) -> Hashable:
    code = function.__code__
    cells = [_contents(cell) for cell in function.__closure__ or ()]
    read: Hashable = ()
    if "site-packages" not in code.co_filename and not _is_ours(function):
        known = function.__globals__
        read = tuple((name, inner(known[name])) for name in sorted(_names(code)) if name in known)
    return (
        "function",
        code,
        code.co_filename,
        tuple(inner(cell) for cell in cells),
        inner(function.__defaults__),
        inner(function.__kwdefaults__),
        read,
    )


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # still empty: the function is being defined
        return None


def _is_ours(function: FunctionType) -> bool:
    return (function.__module__ or "").partition(".")[0] == "jfractal"


def _names(code: CodeType) -> set[str]:
    """The global names that a function and those within it may read."""
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)
