"""A net linearized in its weights: the model whose posterior Laplace's approximation is."""

from typing import Any

import jax
import jax.numpy as jnp

from jfractal.arguments import check_functions
from jfractal.posterior.gaussian import Where, everywhere
from jfractal.posterior.leaves import replace, select
from jfractal.posterior.posterior import check_tree
from jfractal.typing import Apply, Params, Variables

__all__ = ["linearize"]


def linearize(apply: Apply, params: Params, where: Where = everywhere) -> Apply:
    """The net with outputs ``f(ŵ, x) + J(x) (w − ŵ)``, where J is the Jacobian in w at ŵ.

    The Gauss–Newton matrix of `laplace` is the curvature of this net. With the same draws, the
    original net may predict arbitrarily badly, up to NaN, if the data say little about its weights.
    A pass costs one forward pass, shared by all draws, and one tangent pass per draw. The tangent
    pass runs only through the layers from the first picked leaf on.

    Args:
        apply: ``apply(variables, x) -> outputs`` of any net that JAX can differentiate in forward
            mode.
        params: ŵ, e.g. the mean of a posterior.
        where: ``where(path, leaf)`` picks the weights w; the others stay at ŵ.

    Returns:
        A function ``apply(variables, x) -> outputs``, for `predict`.

    Raises:
        InputError: If `params` is a posterior, or `where` picks nothing.

    Example:
        ::

            tangent = jf.linearize(net.apply, posterior.mean())
            outputs = jf.sample_outputs(tangent, posterior, x, key)

    References:
        Immer, Korzepa & Bauer, "Improving predictions of Bayesian neural nets via local
        linearization", AISTATS 2021, eq. 7.
    """
    check_tree(params, "linearize", "`posterior.mean()` for the tree")
    check_functions(apply=apply, where=where)
    centre = select(params, where)

    def tangent(variables: Variables, x: Any, **options: Any) -> Any:
        weights = variables["params"]

        def outputs(leaves: dict[str, Any]) -> Any:
            return apply({**variables, "params": replace(weights, leaves)}, x, **options)

        moved = select(weights, lambda path, _: path in centre)
        step = {path: moved[path] - w for path, w in centre.items()}
        value, slope = jax.jvp(outputs, (centre,), (step,))
        return jax.tree.map(jnp.add, value, slope)

    return tangent
