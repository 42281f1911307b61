"""Checks of a target that run before its chains are compiled."""

from functools import partial
from typing import Any

import jax
import numpy as np
from flax import errors

from jfractal import ops
from jfractal.errors import InputError
from jfractal.identity import ByContent
from jfractal.inference.batch import Batch, batch_size
from jfractal.inference.model import Model
from jfractal.typing import Variables

__all__ = ["check_starts", "check_target"]

MAX_EXAMPLES = 64  # that are enough to see whether they are independent
INSTEAD = "use a norm without batch statistics, such as 'frn', 'group' or 'layer'"


def check_target(model: Model, variables: Variables, data: Batch, chunk: int | None) -> None:
    """Refuses a model that is not a function of its weights, and data that do not fit the model.

    Args:
        model: The model.
        variables: The start of a chain.
        data: Inputs and targets. All values are checked, but no pass over them is computed.
        chunk: The most examples that go through the net at once.

    Raises:
        InputError: If the model or the data are at fault.
    """
    try:
        jax.eval_shape(lambda variables: model.log_likelihood(variables, data), variables)
    except InputError:
        raise
    except (KeyError, errors.ModifyScopeVariableError) as error:
        raise InputError(
            "`model` needs more than weights: batch statistics depend on which examples are seen "
            f"together, so they cannot be part of a posterior over weights; {INSTEAD}, or give "
            f"`starts` all variables, whose statistics then stay fixed ({_first_line(error)})"
        ) from error
    except (errors.FlaxError, AttributeError, TypeError, ValueError) as error:
        raise InputError(
            "`model` cannot be evaluated at the `starts`; do the shapes of the data fit the net? "
            f"({_first_line(error)})"
        ) from error
    if (number := min(batch_size(data), chunk or MAX_EXAMPLES, MAX_EXAMPLES)) > 1:
        few = jax.tree.map(lambda x: x[:number], data)
        together, alone = _last_half(ByContent(model), variables, few)
        if not np.allclose(together, alone, rtol=1e-2, atol=1e-2, equal_nan=True):
            raise InputError(
                "`model` must not depend on which examples are seen together, as it does with "
                "batch norm in training mode, or with dropout by a fixed key: "
                f"{INSTEAD}, and train=False"
            )


@partial(ops.jit, static_argnums=0)
def _last_half(model: ByContent[Model], variables: Variables, batch: Batch) -> Any:
    """Log likelihood of the last half in the batch and alone, which must be the same.

    The first half would not do: with the same key, its dropout masks are the same.
    """
    half = batch_size(batch) // 2
    last = jax.tree.map(lambda x: x[half:], batch)
    log_likelihood = model.value.log_likelihood
    return log_likelihood(variables, batch)[half:], log_likelihood(variables, last)


def check_starts(values: np.ndarray) -> None:
    """Refuses starts without a finite density.

    Raises:
        InputError: If a log joint there is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise InputError(
            f"`starts` must have a finite log joint, got {values} nats; start closer to the "
            "prior's centre, or look for a division by zero in the model"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
