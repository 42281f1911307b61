"""Second derivatives of the log joint at one setting of the weights."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from jfractal import ops
from jfractal.errors import InputError
from jfractal.inference.log_joint import LogJoint
from jfractal.posterior.gaussian import Where
from jfractal.posterior.leaves import replace, select
from jfractal.typing import Array, Float, Params

__all__ = ["gauss_newton", "gauss_newton_diagonal", "prior_hessian", "prior_precision"]


def gauss_newton(
    log_joint: LogJoint,
    params: Params,
    where: Where,
    *,
    batch_size: int | None = None,
) -> Float[Array, "weights weights"]:
    """Generalised Gauss–Newton matrix of the negative log likelihood, summed over the data.

    ``G = Σ_n J_nᵀ H_n J_n`` with the Jacobian ``J = ∂f/∂w`` of the model's outputs and
    ``H = −∂² log p(y | f) / ∂f²``: the Hessian, if the model were linear in its weights.

    Args:
        log_joint: Data, model and likelihood.
        params: Where to take it.
        where: ``where(path, leaf)`` picks the weights w, see `jfractal.posterior.leaves.select`.
        batch_size: Examples whose Jacobians are in memory at a time, "batch outputs weights"; all
            of them if left out.

    Returns:
        The matrix, over the chosen leaves in the order of `ravel_pytree`.

    Source: Schraudolph, "Fast curvature matrix-vector products", Neural Computation 2002.
    """
    return _over_data(
        lambda jacobian, product: jnp.einsum("boi,boj->ij", jacobian, product),
        log_joint,
        params,
        where,
        batch_size,
    )


def gauss_newton_diagonal(
    log_joint: LogJoint,
    params: Params,
    where: Where,
    *,
    batch_size: int | None = None,
) -> Float[Array, " weights"]:
    """The diagonal of `gauss_newton`, without the rest of it; arguments as there."""
    return _over_data(
        lambda jacobian, product: jnp.einsum("boi,boi->i", jacobian, product),
        log_joint,
        params,
        where,
        batch_size,
    )


def prior_hessian(
    log_joint: LogJoint, params: Params, where: Where
) -> Float[Array, "weights weights"]:
    """``−∂² log p(w) / ∂w²`` over the chosen leaves, in the order of `gauss_newton`."""
    start, unravel = ravel_pytree(select(params, where))

    def loss(weights):
        return -log_joint.prior.tree_log_prob(replace(params, unravel(weights)))

    return jax.hessian(loss)(start)


def prior_precision(log_joint: LogJoint, params: Params, where: Where) -> Float[Array, " weights"]:
    """The diagonal of `prior_hessian`, which must be all of it.

    Raises:
        InputError: If the weights of a leaf are not independent under the prior.
    """

    def of_leaf(path: str, w: Array) -> Array:
        prior = log_joint.prior.at(path, w.shape)
        if jax.eval_shape(prior.log_prob, w).shape != w.shape:
            raise InputError(
                f"the prior must be independent over the weights of '{path}', got {prior}"
            )
        slope = jax.grad(lambda w: prior.log_prob(w).sum())
        return -jax.jvp(slope, (w,), (jnp.ones_like(w),))[1]

    leaves = select(params, where)
    return ravel_pytree({path: of_leaf(path, w) for path, w in leaves.items()})[0]


def _over_data(
    contract: Callable[[Array, Array], Array],
    log_joint: LogJoint,
    params: Params,
    where: Where,
    batch_size: int | None,
) -> Array:
    """``Σ contract(J, H J)`` over batches, with J and H J "batch outputs weights"."""

    @ops.jit
    def run(params, data):
        start, unravel = ravel_pytree(select(params, where))

        def example(x, y):
            def apply(weights):
                variables = {"params": replace(params, unravel(weights))}
                return log_joint.apply(variables, x[None])[0]

            def loss(outputs):
                return -log_joint.likelihood.log_likelihood(outputs[None], y[None])[0]

            outputs = apply(start)
            jacobian = jax.jacrev(apply)(start).reshape(outputs.size, -1)
            hessian = jax.hessian(loss)(outputs).reshape(outputs.size, outputs.size)
            return jacobian, hessian @ jacobian

        return _total(lambda batch: contract(*jax.vmap(example)(*batch)), data, batch_size)

    return run(params, log_joint.data)


def _total(function: Callable[[Any], Array], data: Any, batch_size: int | None) -> Array:
    """``Σ function(batch)`` over batches of all the data; the last may be smaller."""
    num_data = jax.tree.leaves(data)[0].shape[0]
    size = batch_size or num_data
    whole = num_data - num_data % size
    batches = jax.tree.map(lambda x: x[:whole].reshape(-1, size, *x.shape[1:]), data)
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, data))
    total, _ = lax.scan(lambda total, batch: (total + function(batch), None), zeros, batches)
    if whole == num_data:
        return total
    return total + function(jax.tree.map(lambda x: x[whole:], data))
