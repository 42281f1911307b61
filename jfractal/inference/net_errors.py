"""Errors of a net, put in terms of the arguments that the user gave."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
from flax import errors

from jfractal.errors import InputError

__all__ = ["named_errors"]

# What a net raises on inputs that are not made for it.
REFUSALS = (
    *(TypeError, ValueError, LookupError, AttributeError, RuntimeError, AssertionError),
    errors.FlaxError,
)


@contextmanager
def named_errors(x: Any) -> Iterator[None]:
    """Turns the errors of a net in a pass over `x` into errors about the model.

    Raises:
        InputError: In place of errors of JAX, Flax and Equinox.
    """
    try:
        yield
    except (InputError, jax.errors.JaxRuntimeError):  # the latter is a lack of memory
        raise
    except errors.InvalidRngError as error:
        raise InputError(
            "`model` needs a random stream that this pass does not have: make it with "
            "`jf.Model.from_linen(net, ...)`, whose `rngs` names the streams "
            f"({_first_line(error)})"
        ) from error
    except errors.ModifyScopeVariableError as error:
        raise InputError(
            "`model` updates batch statistics in a pass that must not change them: make it with "
            f"`jf.Model.from_linen(net, ...)` ({_first_line(error)})"
        ) from error
    except (errors.ScopeCollectionNotFound, errors.ScopeVariableNotFoundError) as error:
        raise InputError(
            "`params` lacks variables that the net needs: if these are batch statistics, give all "
            f"of `net.init(key, x)` instead of its 'params' ({_first_line(error)})"
        ) from error
    except REFUSALS as error:
        if re.search(r"unexpected keyword argument|missing \d+ required", str(error)):
            raise InputError(
                "`model` calls its net with other arguments than the net takes: make it with "
                "`jf.Model.from_linen(net, ...)`, whose `training` names the keyword for training "
                f"({_first_line(error)})"
            ) from error
        shapes = jax.tree.map(lambda a: getattr(a, "shape", a), x)
        raise InputError(
            f"`x` of shape {shapes} does not run through the net with these `params`: "
            f"{type(error).__name__}: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
