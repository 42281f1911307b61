"""Checks of arguments by name: arrays of numbers, single numbers, words, keys."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfractal.concrete import concrete
from jfractal.errors import InputError

__all__ = [
    "as_array",
    "as_dtype",
    "as_path",
    "as_strings",
    "check_choice",
    "check_finite",
    "check_flags",
    "check_fraction",
    "check_functions",
    "check_key",
    "check_number",
    "check_positive",
    "check_rate",
    "check_type",
    "check_values",
    "check_weight",
    "described",
    "naming",
]

LONGEST = 80  # characters of a value that a message repeats


def as_array(name: str, value: Any) -> jax.Array | np.ndarray:
    """The value as an array of booleans, integers or real numbers; traced values stay traced.

    Raises:
        InputError: If it holds anything else, such as None, strings, keys or complex numbers.
    """
    try:
        value = value.item() if isinstance(value, np.generic) else value
        is_array = isinstance(value, jax.Array | np.ndarray)
        # Lists may hold tracers, which only JAX can stack.
        with np.errstate(over="ignore"):  # too large for JAX's precision is infinite
            array = value if is_array else None if value is None else jnp.asarray(value)
    except (TypeError, ValueError, OverflowError, AttributeError):
        array = None
    if array is None or not _is_real(array.dtype):
        raise InputError(f"`{name}` must be an array of real numbers, got {described(value)}")
    return array


def as_dtype(name: str, value: Any) -> np.dtype:
    """The floating-point type that a type or its name stands for.

    Raises:
        InputError: If it is not a type of 16, 32 or 64 bits, or JAX would compute in a narrower
            one.
    """
    try:
        dtype = jnp.dtype(value)
    except TypeError:
        dtype = np.dtype(bool)
    if not jnp.issubdtype(dtype, jnp.floating) or dtype.itemsize not in (2, 4, 8):
        raise InputError(
            f"`{name}` must be a floating-point type of 16, 32 or 64 bits, such as 'bfloat16', got "
            f"{described(value)}"
        )
    if dtype.itemsize == 8 and not jax.config.jax_enable_x64:  # pyright: ignore
        raise InputError(
            f"`{name}` must be of 32 bits or less unless `jax.config.update('jax_enable_x64', "
            f"True)` comes first, got {described(value)}"
        )
    return dtype


def check_values(
    name: str, x: jax.Array | np.ndarray, what: str, holds: Callable[[np.ndarray], Any]
) -> None:
    """Refuses a concrete array with an entry for which `holds` is false.

    Args:
        name: Name of the argument.
        x: Its value, from `as_array`.
        what: What every entry must be, to follow "must be" in the message.
        holds: An elementwise test, false for NaN, as comparisons are.

    Raises:
        InputError: If there is such an entry.
    """
    known = concrete(x)
    if known is not None and not np.all(holds(_wide(known))):
        raise InputError(f"`{name}` must be {what}, got {described(known)}")


def check_finite(name: str, x: jax.Array | np.ndarray) -> None:
    """Refuses a concrete array that holds a NaN or an infinity."""
    check_values(name, x, "finite", np.isfinite)


def check_number(what: str, holds: Callable[[Any], Any], **numbers: Any) -> None:
    """Refuses anything but one real number, which must be in range if it is concrete.

    Args:
        what: What it must be, to follow "must be" in the message, e.g. ``in (0, 1)``.
        holds: A test of the number, false for NaN.
        **numbers: The arguments, by name.

    Raises:
        InputError: If a number is refused; the message names the first.
    """
    for name, value in numbers.items():
        try:
            # Python's numbers are known even while JAX traces, where its arrays are not.
            number = _single(value) if isinstance(value, float) else as_array(name, value)
        except InputError:
            number = np.zeros(2)
        if number.ndim != 0 or number.dtype == bool:
            raise InputError(f"`{name}` must be a number {what}, got {described(value)}")
        known = concrete(number)
        if known is not None and not holds(known):
            raise InputError(f"`{name}` must be {what}, got {described(value)}")


def check_positive(**numbers: Any) -> None:
    """Refuses anything but one finite number above 0."""
    check_number("above 0 and finite", lambda x: (x > 0) & np.isfinite(x), **numbers)


def check_rate(**numbers: Any) -> None:
    """Refuses anything but one number in [0, 1), such as a dropout rate or a decay."""
    check_number("in [0, 1)", lambda x: (x >= 0) & (x < 1), **numbers)


def check_fraction(**numbers: Any) -> None:
    """Refuses anything but one number between 0 and 1, both included."""
    check_number("in [0, 1]", lambda x: (x >= 0) & (x <= 1), **numbers)


def check_weight(**numbers: Any) -> None:
    """Refuses anything but one finite number of at least 0."""
    check_number("at least 0 and finite", lambda x: (x >= 0) & np.isfinite(x), **numbers)


def check_functions(**functions: Any) -> None:
    """Refuses anything that cannot be called."""
    for name, function in functions.items():
        if not callable(function):
            raise InputError(f"`{name}` must be a function, got {described(function)}")


def check_flags(**flags: Any) -> None:
    """Refuses anything but true and false."""
    for name, flag in flags.items():
        check_type(name, flag, bool | np.bool_, "True or False")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Refuses a word that is not one of the choices."""
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"`{name}` must be one of {', '.join(choices)}, got {described(value)}")


def check_type(name: str, value: Any, types: Any, what: str) -> None:
    """Refuses a value that is of none of the types; `what` describes them in the message."""
    if not isinstance(value, types):
        raise InputError(f"`{name}` must be {what}, got {described(value)}")


def as_strings(name: str, value: Any) -> tuple[str, ...]:
    """The strings of a list or the like; a single string is refused."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InputError(f"`{name}` must be a list of strings, got {described(value)}")
    strings = tuple(value)
    for string in strings:
        check_type(name, string, str, "a list of strings")
    return strings


def as_path(name: str, value: Any) -> Path:
    """The path that a string or a path names."""
    if not isinstance(value, str | os.PathLike) or not str(value) or "\0" in str(value):
        raise InputError(f"`{name}` must be the path of a file, got {described(value)}")
    return Path(value)


def check_key(name: str, key: Any) -> None:
    """Refuses anything but one random key, typed or (as in older JAX) a vector of uint32."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    is_typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and shape == ()
    if not is_typed and not (dtype == np.uint32 and shape in ((2,), (4,))):
        raise InputError(f"`{name}` must be one key of `jax.random.key`, got {described(key)}")


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Puts the name of an argument in front of errors that are raised within."""
    try:
        yield
    except InputError as error:
        if f"`{name}`" in str(error).partition("\n")[0]:
            raise
        raise InputError(f"`{name}`: {error}") from error


def described(value: Any) -> str:
    """A description of a value for messages: the value itself if it is short, else its kind."""
    if isinstance(value, jax.Array | np.ndarray) and value.ndim:
        return _described_array(value)
    is_number = isinstance(value, np.generic | np.ndarray | jax.Array) and _is_real(value.dtype)
    if is_number and concrete(value) is not None:
        value = np.asarray(value).item()
    text = " ".join(repr(value).split())
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - 1]}… of type {type(value).__name__}"


def _described_array(x: jax.Array | np.ndarray) -> str:
    text = f"{x.dtype} of shape {x.shape}"
    known = concrete(x) if _is_real(x.dtype) else None
    if known is None or not known.size:
        return text
    if np.isnan(known := _wide(known)).any():
        return f"{text} with NaN"
    return f"{text} with values from {known.min():g} to {known.max():g}"


def _single(value: float) -> np.ndarray:
    """In JAX's precision, in which numbers that are too large are infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(value).astype(jax.dtypes.canonicalize_dtype(float))


def _is_real(dtype: Any) -> bool:
    kinds = jnp.bool_, jnp.integer, jnp.floating
    return any(jnp.issubdtype(dtype, kind) for kind in kinds)


def _wide(x: np.ndarray) -> np.ndarray:
    """In a native NumPy dtype, whose functions are tested on every platform."""
    return x if x.dtype.kind in "biu" or x.dtype.itemsize >= 4 else x.astype(np.float32)
