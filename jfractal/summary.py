"""One-line summaries of values with too many numbers to print."""

from dataclasses import fields
from typing import Any

import jax.numpy as jnp

__all__ = ["kind", "summary"]

SHOWN = 12  # items of a tuple


def summary(self: Any) -> str:
    """``__repr__`` of a dataclass that holds arrays: its fields, with dtype and shape of arrays."""
    parts = [f"{field.name}={_shown(getattr(self, field.name))}" for field in fields(self)]
    return f"{type(self).__name__}({', '.join(parts)})"


def kind(x: Any) -> str:
    """Dtype and shape, as ``float32[64,10]``."""
    return f"{getattr(x, 'dtype', type(x).__name__)}[{','.join(map(str, jnp.shape(x)))}]"


def _shown(value: Any) -> str:
    if hasattr(value, "shape"):
        return kind(value)
    if isinstance(value, tuple) and len(value) > SHOWN:
        return f"tuple[{len(value)}]"
    return repr(value)
