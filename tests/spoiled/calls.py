"""A call with valid arguments, and what becomes of it when one of them is spoiled."""

import inspect
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jfractal
from jfractal.data import DataUnavailable
from jfractal.errors import DivergenceError, InputError
from tests.spoiled.spoils import spoils

__all__ = ["Call", "Fault"]

PACKAGE = str(Path(jfractal.__file__).parent)


@dataclass(frozen=True)
class Call:
    """A public function and valid arguments of it, by name.

    Attributes:
        function: The function, a class, or a method of an instance.
        arguments: Valid, by name.
        may: By the name of an argument, what may be wrong with it without a refusal, because the
            result makes sense: labels of `spoils`, or their beginnings with a ``*``. A list in
            place of an array, and None where it is the default, always may.
        name: Of the call in messages.
        known_as: By the name of an argument, what else a message may call it.
        may_be_nan: Whether a result may be NaN: that of a diagnostic, which so says what it sees.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    may: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    may_be_nan: bool = False
    known_as: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name or getattr(self.function, "__qualname__", repr(self.function))

    def faults(self) -> Iterator["Fault | None"]:
        """What went wrong, one for each spoiled argument: None where nothing did."""
        self.run({})
        for argument, value in self.arguments.items():
            for label, spoiled in spoils(value):
                outcome = self._outcome(argument, label, spoiled)
                yield outcome and Fault(str(self), argument, label, outcome)

    def run(self, spoiled: Mapping[str, Any]) -> Any:
        """The result, with warnings for errors: they too are somebody else's words."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return self.function(**{**self.arguments, **spoiled})

    def _outcome(self, argument: str, label: str, spoiled: Any) -> str | None:
        try:
            result = self.run({argument: spoiled})
        except AssertionError:  # what an assertion is for
            return None if self._may(argument, label) else "an assertion that fails"
        except (DataUnavailable, DivergenceError):
            # The name of a set that does not exist may be that of one out of reach; and weights
            # that are finite may have no finite density.
            return None
        except Exception as error:
            return _of_error(error, self.known_as.get(argument, argument), argument)
        if not self._may(argument, label):
            return "silently accepted"
        return "a result that is NaN" if _has_nan(result) and not self.may_be_nan else None

    def _may(self, argument: str, label: str) -> bool:
        try:
            default = inspect.signature(self.function).parameters[argument].default
        except (KeyError, ValueError):
            default = inspect.Parameter.empty
        if label.endswith("a list") or (label == "None" and default is None):
            return True
        allowed = [word.strip() for word in self.may.get(argument, "").split(",")]
        return any(
            label.startswith(word[:-1]) if word.endswith("*") else label == word
            for word in filter(None, allowed)
        )


@dataclass(frozen=True)
class Fault:
    """A spoiled call that ended in neither sense nor a sentence of ours."""

    call: str
    argument: str
    label: str
    outcome: str

    def __str__(self) -> str:
        return f"{self.call}({self.argument}: {self.label}): {self.outcome}"


def _of_error(error: Exception, *names: str) -> str | None:
    """What is wrong with an error, None if it is ours and names the argument."""
    *_, last = traceback.extract_tb(error.__traceback__)
    first = (str(error).splitlines() or [""])[0]
    is_ours = isinstance(error, InputError) or (
        isinstance(error, TypeError) and last.filename.startswith(PACKAGE)
    )
    if not is_ours:
        place = f"{Path(last.filename).parent.name}/{Path(last.filename).name}:{last.lineno}"
        return f"{type(error).__name__} from {place}: {first[:120]}"
    if not re.search(rf"`({'|'.join(names)})\b", first):
        return f"{type(error).__name__} that does not name it: {first[:120]}"
    return None


def _has_nan(result: Any) -> bool:
    leaves = [x for x in jax.tree.leaves(result) if hasattr(x, "dtype") or isinstance(x, float)]
    known = [np.asarray(x) for x in leaves if not str(getattr(x, "dtype", "")).startswith("key")]
    return any(np.isnan(x).any() for x in known if x.dtype.kind == "f")
