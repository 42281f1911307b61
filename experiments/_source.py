"""The setting of every experiment whose data may not be at hand."""

from dataclasses import dataclass

__all__ = ["SourceConfig"]


@dataclass(frozen=True)
class SourceConfig:
    """What to do without the data that are asked for."""

    strict: bool = False
    """Fail if the data set is not at hand, instead of running on one that stands in for it."""
