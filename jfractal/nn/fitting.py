"""A clear error for inputs that do not fit the weights of a net."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax import errors

from jfractal.errors import InputError

__all__ = ["fitting"]


@contextmanager
def fitting(module: nn.Module, name: str, x: Any) -> Iterator[None]:
    """Turns Flax's error about the shape of a parameter into one about the input of the module.

    Inside another module it lets the error pass, because the outer module names the argument that
    the caller gave.

    Raises:
        InputError: If a parameter has another shape than the input needs.
    """
    try:
        yield
    except errors.ScopeParamShapeError as error:
        if module.path:
            raise
        shapes = jax.tree.map(np.shape, x)
        reason = str(error).partition(" (http")[0].rstrip(".")
        raise InputError(
            f"`{name}` of shape {shapes} does not fit these `params`: {reason}"
        ) from error
