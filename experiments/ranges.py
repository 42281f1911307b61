"""Types of settings: numbers in a range, names from a list, tuples of these."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Interval:
    """Numbers between two ends, which belong to it or do not: ``Interval(0, 1, "[)")``."""

    low: float
    high: float = math.inf
    ends: str = "[)"

    def __contains__(self, value: float) -> bool:
        above = self.low <= value if self.ends[0] == "[" else self.low < value
        return above and (value <= self.high if self.ends[1] == "]" else value < self.high)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'at least' if self.ends[0] == '[' else 'above'} {self.low}"
        return f"in {self.ends[0]}{self.low}, {self.high}{self.ends[1]}"


class OneOf(tuple[str, ...]):
    """Names to choose from: ``Annotated[str, OneOf(["mnist", "digits"])]``."""

    def __str__(self) -> str:
        return f"one of {', '.join(map(repr, self))}"


@dataclass(frozen=True)
class Such:
    """Values that have a property: what to call them, and whether a value is one."""

    words: str
    holds: Callable[[Any], bool]

    def __contains__(self, value: Any) -> bool:
        return self.holds(value)

    def __str__(self) -> str:
        return self.words


Natural = Annotated[int, Interval(0)]
Count = Annotated[int, Interval(1)]
Columns = Annotated[Count, Interval(1, 10, "[]")]  # 2^9 convolutions in a block are enough
Seed = Annotated[int, Interval(0, 2**32)]
Positive = Annotated[float, Interval(0, ends="()")]
NotNegative = Annotated[float, Interval(0)]
Rate = Annotated[float, Interval(0, 1)]
Fraction = Annotated[float, Interval(0, 1, "[]")]
Level = Annotated[float, Interval(0, 1, "()")]
Precision = Literal["float32", "bfloat16"]
Directory = Annotated[
    Path, Such("the name of a directory", lambda path: path.name and "\0" not in str(path))
]
Some = Annotated[tuple[T, ...], Such("one or more values", lambda values: len(values) > 0)]
Choices = Annotated[
    tuple[T, ...],
    Such("one or more values, no two alike", lambda values: 0 < len(values) == len(set(values))),
]
