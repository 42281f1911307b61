"""Settings with declared ranges: a value out of range is refused when the settings are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

from experiments.ranges import OneOf
from jfractal.errors import InputError

S = TypeVar("S", bound="Settings")


class Settings:
    """Base of frozen dataclasses whose fields are checked against their annotations.

    The comment behind a field, or on the lines above it, is what ``--help`` says about its flag.

    Raises:
        InputError: A value is not of the type or not in the range that its field declares.
    """

    def __post_init__(self):
        for name, hint in _hints(type(self)).items():
            _check(name, hint, getattr(self, name))

    def but(self, **changes: Any) -> Self:
        """The same settings with changes: ``config.but(seed=1, train={"num_epochs": 2})``."""
        merged = {
            name: getattr(self, name).but(**value) if isinstance(value, Mapping) else value
            for name, value in changes.items()
        }
        return type(self)(**{**vars(self), **merged})


@dataclass(frozen=True)
class SourceConfig(Settings):
    """The setting of every experiment whose data may not be at hand."""

    # Fail if the data set is not at hand, instead of running on one that stands in for it.
    strict: bool = False


def presets(laptop: S, *, quick: Mapping[str, Any], **others: Mapping[str, Any]) -> dict[str, S]:
    """The settings of an experiment by name: those for a laptop, and what others change in them."""
    return {
        "laptop": laptop,
        **{name: laptop.but(preset=name, **changes) for name, changes in others.items()},
        "quick": laptop.but(quick=True, **quick),
    }


def require(holds: bool, message: str) -> None:
    """A relation between settings.

    Raises:
        InputError: It does not hold.
    """
    if not holds:
        raise InputError(message)


_hints = cache(lambda cls: get_type_hints(cls, include_extras=True))


def _check(name: str, hint: Any, value: Any) -> None:
    """Compares a value, and what is in it, with a type and the ranges that it declares."""
    origin, parts = get_origin(hint), get_args(hint)
    demand = lambda holds, what: require(holds, f"`{name}` must be {what}, got {value!r}")
    if origin is Annotated:
        _check(name, parts[0], value)
        for limit in parts[1:]:
            demand(value in limit, limit)
    elif NoneType in parts:
        if value is not None:
            _check(name, next(part for part in parts if part is not NoneType), value)
    elif origin is Literal:
        demand(value in parts, OneOf(parts))
    elif origin is tuple:
        demand(isinstance(value, tuple), "a tuple")
        for part in value:
            _check(name, parts[0], part)
    elif hint is int:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        demand(is_number and abs(value) < 2**32, "a whole number of 32 bits")
    elif hint is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        demand(is_number and abs(value) < 2.0**128, "a finite number of 32 bits")
    else:
        demand(isinstance(value, hint), f"a {hint.__name__}")
