"""What can be told to be wrong with a target before its chains are compiled."""

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
    """Refuses a model that is no function of weights, or whose data do not fit.

    Args:
        model: The model.
        variables: Where a chain starts.
        data: Inputs and targets, all of whose values are looked at; no pass over them is computed.
        chunk: The most examples that go through the net at once.

    Raises:
        InputError: Naming what is wrong.
    """
    try:
        jax.eval_shape(lambda variables: model.log_likelihood(variables, data), variables)
    except InputError:
        raise
    except (KeyError, errors.ModifyScopeVariableError) as error:
        raise InputError(
            "`model` needs more than weights: batch statistics depend on which examples are seen "
            f"together and have no place in a posterior over weights; {INSTEAD}, or give `starts` "
            f"all variables, whose statistics then stay as they are ({_first_line(error)})"
        ) from error
    except (errors.FlaxError, AttributeError, TypeError, ValueError) as error:
        raise InputError(
            "`model` cannot be evaluated where the chains start; do the shapes of the data fit "
            f"the net? ({_first_line(error)})"
        ) from error
    if (number := min(batch_size(data), chunk or MAX_EXAMPLES, MAX_EXAMPLES)) > 1:
        few = jax.tree.map(lambda x: x[:number], data)
        together, alone = _last_half(ByContent(model), variables, few)
        if not np.allclose(together, alone, rtol=1e-2, atol=1e-2, equal_nan=True):
            raise InputError(
                "`model` must not depend on which examples are seen together, as it does with "
                "batch norm in training mode, or with dropout by a key that is always the same: "
                f"{INSTEAD}, and train=False"
            )


@partial(ops.jit, static_argnums=0)
def _last_half(model: ByContent[Model], variables: Variables, batch: Batch) -> Any:
    """Their log likelihood among the others and by themselves, which must be the same.

    Not of the first half, whose dropout masks are the same, if the key is.
    """
    half = batch_size(batch) // 2
    last = jax.tree.map(lambda x: x[half:], batch)
    log_likelihood = model.value.log_likelihood
    return log_likelihood(variables, batch)[half:], log_likelihood(variables, last)


def check_starts(values: np.ndarray) -> None:
    """Refuses starts that have no density.

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
