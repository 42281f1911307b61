"""A net made linear in its weights, which is what Laplace's approximation is a posterior of."""

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
    """The net whose outputs are ``f(ŵ, x) + J(x) (w − ŵ)``, with the Jacobian J in w at ŵ.

    The Gauss–Newton matrix of `laplace` is the curvature of this net. Under the same draws the net
    itself may predict arbitrarily badly, and in the end NaN, where the data say little about its
    weights. A pass costs one forward pass, shared by all draws, and one tangent pass a draw; the
    tangent pass runs only through the layers after the first of the chosen leaves.

    Args:
        apply: ``apply(variables, x) -> outputs``, of any net that JAX differentiates in forward
            mode.
        params: ŵ, e.g. the mean of a posterior.
        where: ``where(path, leaf)`` picks the weights w; the net stays as it is in the others.

    Returns:
        An `apply` for `predict`.

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
