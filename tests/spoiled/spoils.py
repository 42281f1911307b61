"""The ways in which one argument is spoiled, by what a valid value of it is."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["spoils"]

Spoiled = Iterator[tuple[str, Any]]


def spoils(value: Any) -> Spoiled:
    """Pairs of what is wrong and the spoiled value."""
    yield from _of_another_kind(value)
    match value:
        case bool():
            yield from {"a number": 2, "empty": (), "NaN": float("nan")}.items()
        case int():
            yield from {
                "negative": -1 - abs(value),
                "zero": 0,
                "a fraction": value + 0.5,
                "NaN": float("nan"),
                "inf": float("inf"),
                "huge": 10**18,
                "a flag": True,
                "in a list": [value],
            }.items()
        case float():
            yield from {
                "negative": -1 - abs(value),
                "zero": 0.0,
                "NaN": float("nan"),
                "inf": float("inf"),
                "-inf": -float("inf"),
                "huge": 1e300,
                "a flag": True,
                "two of them": np.array([value, value]),
                "complex": complex(value),
            }.items()
        case str():
            yield from {"another word": "spoiled", "empty": "", "in a list": [value]}.items()
        case jax.Array() if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            yield from {"a seed": 0, "two of them": jax.random.split(value)}.items()
            yield "numbers", jnp.ones(2)
        case jax.Array() | np.ndarray():
            yield from _arrays(np.asarray(value))
        case Mapping():
            yield from {"empty": {}, "in a list": [value], "names that are numbers": {1: 2}}.items()
            for name, part in [*value.items()][:1]:
                yield from ((f"entry {k}", value | {name: x}) for k, x in spoils(part))
        case tuple() | list():
            yield "empty", ()
            make = type(value)._make if hasattr(value, "_fields") else type(value)
            for i, part in [*enumerate(value)][-1:]:
                yield "a part less", value[:i]
                yield from (
                    (f"part {k}", make([*value[:i], x, *value[i + 1 :]])) for k, x in spoils(part)
                )


def _of_another_kind(value: Any) -> Spoiled:
    others = {"None": None, "a string": "spoiled", "a number": 3, "an object": object()}
    others |= {"a function": _function, "a mapping": {"spoiled": 1}}
    if isinstance(value, str):
        del others["a string"]
    if isinstance(value, int | float):
        del others["a number"]
    if isinstance(value, Callable):
        del others["a function"]
    if isinstance(value, Mapping):
        del others["a mapping"]
    if value is not None:
        yield from others.items()


def _function(*args: Any, **kwargs: Any) -> None:
    return None


def _arrays(x: np.ndarray) -> Spoiled:
    yield "strings", np.full(x.shape, "x")
    yield "objects", np.full(x.shape, None)
    yield "complex", x + 1j
    yield "empty", x[:0] if x.ndim else np.zeros(0, x.dtype)
    yield "an axis more", x[None]
    yield "a scalar", x.ravel()[0]
    if x.ndim > 0:
        yield "a row less", x[:-1]
    if x.ndim > 1:
        yield "a column less", x[..., :-1]
        yield "flat", x.ravel()
    yield "a list", x.tolist()
    if x.dtype == bool:
        yield "fractions", x + 0.5
        yield "NaN", np.full(x.shape, np.nan)
        yield "-1", -np.ones(x.shape, int)
    elif x.dtype.kind in "iu":
        yield "fractions", x + 0.5
        yield "floats", x.astype(np.float32)
        yield "booleans", x > 0
        yield "NaN", np.full(x.shape, np.nan)
        if x.dtype.kind == "i":
            yield "negative", -1 - x
            yield "too large", x + 10**6
    else:
        one = np.zeros(x.size, bool)
        one[0] = True
        one = one.reshape(x.shape)
        yield "NaN", np.where(one, np.nan, x).astype(x.dtype)
        yield "all NaN", np.full_like(x, np.nan)
        yield "inf", np.where(one, np.inf, x).astype(x.dtype)
        yield "-inf", np.where(one, -np.inf, x).astype(x.dtype)
        yield "negative", -1 - np.abs(x)
        yield "zero", np.zeros_like(x)
        yield "doubled", 2 * x
        yield "huge", np.full_like(x, 1e30)
        yield "booleans", x > x.mean()
        yield "half precision", x.astype(np.float16)
