"""In which types modules compute and keep their weights: two settings, handed down to layers."""

from dataclasses import fields
from functools import partial
from typing import Any

import flax.linen as nn

from jfractal.arguments import as_dtype
from jfractal.nn.recipe import recipe

__all__ = ["Typed", "check_dtypes"]


class Typed(nn.Module, kw_only=True):
    """A module with the two settings of Flax's layers, which it hands to the modules within.

    Attributes:
        dtype: Type of the computation and of the outputs, e.g. ``jnp.bfloat16``. If left out, each
            layer decides; those of Flax promote their inputs and weights. Statistics are float32
            or wider whatever the type.
        param_dtype: Type of the weights. If left out, each layer decides; those of Flax keep
            float32.

    Raises:
        InputError: If one is not a floating-point type of 16, 32 or 64 bits, or is float64 while
            JAX computes in 32 bits.
    """

    dtype: Any = None
    param_dtype: Any = None

    def __post_init__(self):
        """Equal modules are equal, however their types were named and their partials made."""
        check_dtypes(self)
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), partial):
                setattr(self, field.name, recipe(value))
        super().__post_init__()

    @property
    def dtypes(self) -> dict[str, Any]:
        """The settings as options of the modules within: those that are given."""
        both = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        return {name: value for name, value in both.items() if value is not None}


def check_dtypes(module: Any) -> None:
    """Puts the two settings of a module into canonical form, or refuses them."""
    for name in ("dtype", "param_dtype"):
        value = getattr(module, name)
        if value is not None:
            setattr(module, name, as_dtype(name, value))
