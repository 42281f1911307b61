"""The types in which modules compute and keep weights: two settings, passed on to layers."""

from dataclasses import fields
from functools import partial
from typing import Any

import flax.linen as nn

from jfractal.arguments import as_dtype
from jfractal.nn.recipe import recipe

__all__ = ["Typed", "check_dtypes"]


class Typed(nn.Module, kw_only=True):
    """A module with the two dtype settings of Flax's layers, which it passes on to submodules.

    Attributes:
        dtype: Type of the computation and of the outputs, e.g. ``jnp.bfloat16``. By default, each
            layer decides; Flax's layers promote inputs and weights to a common type. Statistics are
            always float32 or wider.
        param_dtype: Type of the weights. By default, each layer decides; Flax's layers use float32.

    Raises:
        InputError: If a type is not a floating-point type of 16, 32 or 64 bits, or is float64 while
            JAX computes in 32 bits.
    """

    dtype: Any = None
    param_dtype: Any = None

    def __post_init__(self):
        """Normalises types and partials, so that modules with equal settings are equal."""
        check_dtypes(self)
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), partial):
                setattr(self, field.name, recipe(value))
        super().__post_init__()

    @property
    def dtypes(self) -> dict[str, Any]:
        """The settings that are given, as options for submodules."""
        both = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        return {name: value for name, value in both.items() if value is not None}


def check_dtypes(module: Any) -> None:
    """Puts the two settings of a module into canonical form, or refuses them."""
    for name in ("dtype", "param_dtype"):
        value = getattr(module, name)
        if value is not None:
            setattr(module, name, as_dtype(name, value))
