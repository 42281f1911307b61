"""Keys of values by content, so that functions that were made alike compile once."""

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jfractal.concrete import concrete

__all__ = ["ByContent", "key_of"]

Value = TypeVar("Value")


class ByContent(Generic[Value]):
    """A value that equals others with the same content, for use as a static argument of `jax.jit`.

    ``optax.adam(1e-3)`` returns a new pair of functions at every call, and bound methods and
    lambdas are new objects too. `jax.jit` would compile for each of them. Compared by content, they
    are equal, see `key_of`.

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
    """An object that equals only itself; it is held, so that its id is not reused."""

    __slots__ = ("held",)

    def __init__(self, held: Any):
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.held is other.held

    def __hash__(self) -> int:
        return id(self.held)


def key_of(x: Any) -> Hashable:
    """A key that is equal for values with equal content.

    The content of a function is its code, its closure, its defaults and, outside installed
    packages, the global names that it reads. The content of a dataclass is its type and its fields;
    that of an array is its numbers. A value of any other kind equals only itself.

    Args:
        x: Any value.

    Returns:
        The key.
    """
    return _Keys().of(x)


class _Keys:
    """Keys of the parts of one value; a part that recurs is replaced by its number."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, Any]] = {}

    def of(self, x: Any) -> Hashable:
        match x:
            case jax.Array() | np.ndarray():
                return _array(x)
            case FunctionType() | MethodType() | partial() | tuple() | list() | Mapping():
                return self._once(x)
            case ModuleType() | type() | BuiltinFunctionType():
                return _Same(x)
            case _ if is_dataclass(x):
                return self._once(x)
        try:
            hash(x)
        except TypeError:
            return _Same(x)
        # 1, 1.0 and True are equal, and compile to different programs.
        return type(x), x

    def _once(self, x: Any) -> Hashable:
        if id(x) in self._seen:
            return "again", self._seen[id(x)][0]
        self._seen[id(x)] = len(self._seen), x  # held, lest another object gets its id
        return self._within(x)

    def _within(self, x: Any) -> Hashable:
        match x:
            case FunctionType():
                return self._function(x)
            case MethodType():
                return "method", self.of(x.__func__), self.of(x.__self__)
            case partial():
                return "partial", self.of(x.func), self.of(x.args), self.of(x.keywords)
            case tuple() | list():
                return type(x), tuple(map(self.of, x))
            case Mapping():
                return type(x), tuple((self.of(k), self.of(v)) for k, v in x.items())
        # A Flax module knows its parent, which is no part of what it computes.
        names = [f.name for f in fields(x) if f.name != "parent"]
        return type(x), tuple((name, self.of(getattr(x, name, None))) for name in names)

    def _function(self, function: FunctionType) -> Hashable:
        code = function.__code__
        read: Hashable = ()
        if "site-packages" not in code.co_filename and not _is_ours(function):
            known = function.__globals__
            names = sorted(_names(code) & known.keys())
            read = tuple((name, self.of(known[name])) for name in names)
        return (
            "function",
            code,
            code.co_filename,
            tuple(self.of(_contents(cell)) for cell in function.__closure__ or ()),
            self.of(function.__defaults__),
            self.of(function.__kwdefaults__),
            read,
        )


def _array(x: Any) -> Hashable:
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) or (values := concrete(x)) is None:
        return _Same(x)
    if values.dtype == object:
        return _Same(x)
    content = hashlib.sha256(np.ascontiguousarray(values).tobytes()).digest()
    return type(x), values.dtype.str, values.shape, content


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # still empty: the function is being defined
        return None


def _is_ours(function: FunctionType) -> bool:
    return (function.__module__ or "").partition(".")[0] == "jfractal"


def _names(code: CodeType) -> set[str]:
    """The global names that a function and its inner functions may read."""
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)
