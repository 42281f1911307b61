"""A model made linear in its weights, which is what Laplace's approximation is a posterior of."""

from typing import Any

import jax

from jfractal.typing import Apply, Array, Params, Variables

__all__ = ["linearize"]


def linearize(apply: Apply, params: Params) -> Apply:
    """The model whose outputs are ``f(ŵ, x) + J(x) (w − ŵ)``, with the Jacobian J in w at ŵ.

    The Gauss–Newton matrix of `laplace` is the curvature of this model, not of the net: under the
    same draws the net itself may predict arbitrarily badly (and in the end NaN), where its weights
    are badly determined; this does not. One forward and one tangent pass.

    Args:
        apply: ``apply(variables, x) -> outputs``, of any model.
        params: Where to take the tangent, e.g. the mean of a posterior by `laplace`.

    Returns:
        An `apply` for `predict`. Keep the object between calls, and it is compiled once.

    Source: Immer, Korzepa & Bauer, "Improving predictions of Bayesian neural nets via local
    linearization", AISTATS 2021, eq. 7.
    """

    def apply_tangent(variables: Variables, x: Any, **options: Any) -> Array:
        outputs = lambda params: apply({**variables, "params": params}, x, **options)
        step = jax.tree.map(lambda w, centre: w - centre, variables["params"], params)
        value, slope = jax.jvp(outputs, (params,), (step,))
        return value + slope

    return apply_tangent
