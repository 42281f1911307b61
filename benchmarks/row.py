"""One comparison: what it was, what it should be, and where."""

import json
import os
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from jfractal.ops.processor import processor

__all__ = ["HEADER", "Row", "device", "versions", "write_json"]

PACKAGES = (
    "jfractal",
    "jax",
    "jaxlib",
    "flax",
    "numpyro",
    "torch",
    "pytorchcv",
    "bayesian-torch",
    "blitz-bayesian-pytorch",
    "laplace-torch",
)


def versions() -> dict[str, str]:
    """Of the packages that are installed here."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def device() -> str:
    """What JAX runs on: the accelerator, or the processor with its arithmetic and its cores."""
    kind, count = jax.devices()[0].device_kind, os.cpu_count()
    return kind if jax.default_backend() != "cpu" else f"{processor()}, {count} CPUs"


@dataclass(frozen=True)
class Row:
    """A figure of ours beside another.

    Attributes:
        name: Of the comparison.
        ours: The figure of ours.
        other: What it is compared with.
        ratio: Of the two; where runs were in turns, the median of the ratios of each turn.
        unit: Of both figures.
        at_most: The ratio to stay below; None where there is none.
        at_least: The ratio to reach; None where there is none.
        device: What it ran on.
        versions: Of the packages.
    """

    name: str
    ours: float
    other: float
    ratio: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    device: str = field(default_factory=device)
    versions: dict[str, str] = field(default_factory=versions)

    @property
    def target(self) -> str:
        """What the ratio should be, in signs."""
        bounds = {"≤": self.at_most, "≥": self.at_least}
        return " ".join(f"{sign} {bound:g}" for sign, bound in bounds.items() if bound is not None)

    @property
    def is_reached(self) -> bool:
        """Whether the ratio is what it should be."""
        above = self.at_least is None or self.ratio >= self.at_least
        return above and (self.at_most is None or self.ratio <= self.at_most)

    def __str__(self) -> str:
        figures = f"{self.ours:10.4g} {self.other:10.4g} {self.ratio:8.3f}  {self.target:8}"
        return f"{self.name:32} {figures} {'' if self.is_reached else 'missed':7} {self.unit}"


HEADER = f"{'row':32} {'ours':>10} {'other':>10} {'ratio':>8}  {'reach':8} {'':7} unit"


def write_json(found: Any, path: Path) -> None:
    """Rows, or a dictionary, as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(found, indent=2, default=asdict) + "\n")
    os.replace(partial, path)
