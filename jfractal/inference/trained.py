"""Weights that are already trained, as a post-hoc method takes them."""

import jax

from jfractal.inference.method import started
from jfractal.posterior.gaussian import mean
from jfractal.posterior.posterior import check_tree
from jfractal.typing import Params, Variables

__all__ = ["trained"]


def trained(params: Params | Variables, function: str) -> tuple[Params, Variables]:
    """Splits what the user gives into the weights and the other collections of the model.

    Args:
        params: Weights, or all variables of a model. Gaussian leaves are replaced by their means.
        function: Name of the function that asks, for the error message.

    Raises:
        InputError: If `params` is a posterior, holds no weights, or holds a leaf that is not a
            floating-point array.
    """
    check_tree(params, function, "`posterior.mean()`, or give the `variables` of a `Point`")
    weights, variables = started(params, jax.random.key(0))
    return mean(weights), variables
