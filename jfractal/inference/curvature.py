"""Second derivatives of the log likelihood and the log prior at one setting of the weights."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import ceil, prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from jfractal import ops
from jfractal.errors import InputError
from jfractal.identity import ByContent
from jfractal.inference.batch import Batch
from jfractal.inference.batch import batch_size as count_examples
from jfractal.inference.model import Model
from jfractal.inference.net_errors import named_errors
from jfractal.likelihoods import per_example
from jfractal.posterior.kronecker_gaussian import as_matrix
from jfractal.posterior.leaves import replace
from jfractal.priors.prior import Prior
from jfractal.typing import Array, Float, Params, Scalar, Variables

__all__ = [
    "Contract",
    "Curvature",
    "Leaves",
    "diagonal",
    "full",
    "gauss_newton",
    "kronecker",
    "prior_hessian",
    "prior_precision",
]

Leaves = dict[str, Any]
"""Arrays by the path of the leaf that they belong to."""

Contract = Callable[[Leaves, Leaves], Any]
"""``contract(J, H J)`` over a batch, by path "batch outputs *shape"; a tree of arrays."""


class Curvature(NamedTuple):
    """Sums over the data.

    Attributes:
        parts: The parts of the Gauss–Newton matrix that `contract` keeps.
        log_likelihood: ``log p(D | w)``, in nats.
    """

    parts: Any
    log_likelihood: Scalar


def full(jacobian: Leaves, product: Leaves) -> Float[Array, "weights weights"]:
    """The whole matrix ``Σ_n J_nᵀ H_n J_n``, over leaves in the order of `ravel_pytree`."""

    def rows(leaves: Leaves) -> Array:
        flat = lambda j: j.reshape(j.shape[0] * j.shape[1], -1)
        return jnp.concatenate(jax.tree.leaves(jax.tree.map(flat, leaves)), axis=-1)

    # One product of matrices; summed over two axes, XLA on CPU takes twice as long.
    return rows(jacobian).T @ rows(product)


def diagonal(jacobian: Leaves, product: Leaves) -> Leaves:
    """The diagonal of `full` by path, in the shapes of the leaves."""
    return jax.tree.map(lambda j, hj: (j * hj).sum((0, 1)), jacobian, product)


def kronecker(jacobian: Leaves, product: Leaves) -> dict[str, tuple[Array, Array]]:
    """Both partial traces of each leaf's block of `full`, over its outputs and over its inputs.

    ``A_ik = Σ_f G_(if)(kf)`` and ``B_fg = Σ_i G_(if)(ig)``, with the leaf read as a matrix, see
    `as_matrix`. If the block is a Kronecker product, it is ``A ⊗ B / tr A``. Otherwise, that
    product has the same partial traces as the block. If G is divided by its trace, it also has the
    least relative entropy ``tr G (log G − log A ⊗ B)`` of all products.
    """
    over = jax.vmap(jax.vmap(as_matrix))
    inputs = lambda j, hj: jnp.einsum("boif,bokf->ik", over(j), over(hj))
    outputs = lambda j, hj: jnp.einsum("boif,boig->fg", over(j), over(hj))
    return {
        path: (inputs(j, product[path]), outputs(j, product[path])) for path, j in jacobian.items()
    }


def gauss_newton(
    model: Model,
    variables: Variables,
    chosen: Leaves,
    data: Batch | Iterable[Batch],
    contract: Contract,
    *,
    batch_size: int | None = None,
) -> Curvature:
    """Parts of the generalised Gauss–Newton matrix of the negative log likelihood.

    ``G = Σ_n J_nᵀ H_n J_n`` with the Jacobian ``J = ∂f/∂w`` of the model's outputs and
    ``H = −∂² log p(y | f) / ∂f²``. G is the Hessian of a model that is linear in its weights.

    Args:
        model: Net and likelihood.
        variables: The variables at which to evaluate G, as `Model.apply` takes them.
        chosen: The weights w, by path.
        data: Inputs and targets, ``(x, y)``, or an iterable of batches of them.
        contract: Function that picks parts of the matrix: `full`, `diagonal` or `kronecker`.
        batch_size: Examples whose Jacobians, "batch outputs weights", are in memory at a time. By
            default, as many as memory allows, see `ops.memory_budget`.

    Returns:
        A `Curvature`.

    Raises:
        InputError: If `data` holds no batch.

    References:
        Schraudolph, "Fast curvature matrix-vector products", Neural Computation 2002.
    """
    asked = ByContent((model, contract))
    total = None
    for batch in _batches(data):
        if total is None:
            # Targets that can be seen are looked at before a compiled program hides them.
            jax.eval_shape(partial(model.log_likelihood, batch=batch), variables)
        size = batch_size or _size(model, variables, chosen, batch)
        part = _over_batch(asked, min(size, count_examples(batch)), variables, chosen, batch)
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    if total is None:
        raise InputError("`data` must give at least one batch, got none")
    return total


def prior_hessian(prior: Prior, chosen: Leaves) -> Float[Array, "weights weights"]:
    """``−∂² log p(w) / ∂w²`` over the chosen leaves, in the order of `full`."""
    start, unravel = ravel_pytree(chosen)
    return jax.hessian(lambda w: -prior.tree_log_prob(unravel(w)))(start)


def prior_precision(prior: Prior, chosen: Leaves) -> Leaves:
    """The diagonal of `prior_hessian` by path, if the matrix is diagonal.

    Raises:
        InputError: If the weights of a leaf are not independent under the prior.
    """

    def of_leaf(path: str, w: Array) -> Array:
        own = prior.at(path, w.shape)
        if jax.eval_shape(own.log_prob, w).shape != w.shape:
            raise InputError(
                f"the prior must be independent over the weights of '{path}', got {own}"
            )
        slope = jax.grad(lambda w: own.log_prob(w).sum())
        return -jax.jvp(slope, (w,), (jnp.ones_like(w),))[1]

    return {path: of_leaf(path, w) for path, w in chosen.items()}


def _batches(data: Any) -> Iterator[Batch]:
    """A pair of trees is one batch; anything else is iterated over, once."""
    batches: Any = [data] if isinstance(data, tuple) and len(data) == 2 else data
    if not isinstance(batches, Iterable):
        raise InputError(
            "`data` must be a pair of inputs and targets, (x, y), or an iterable of such batches, "
            f"got a {type(data).__name__}"
        )
    for batch in batches:
        # By way of NumPy, which reads the arrays of other libraries.
        as_array = lambda a: a if isinstance(a, jax.Array) else np.asarray(a)
        count_examples(batch := jax.tree.map(as_array, batch))
        x, y = jax.tree.map(jnp.asarray, batch)
        yield x, y


def _size(model: Model, variables: Variables, chosen: Leaves, batch: Batch) -> int:
    """Examples whose Jacobians, and products of these, fit into the memory of a pass."""
    x, _ = batch
    with named_errors(x):
        outputs = jax.eval_shape(model.apply, variables, jax.tree.map(lambda a: a[:1], x))
    num_outputs = sum(prod(out.shape) for out in jax.tree.leaves(outputs))
    num_weights = sum(w.size for w in chosen.values())
    return max(ops.memory_budget() // (3 * 4 * num_outputs * num_weights), 1)


@partial(ops.jit, static_argnums=(0, 1))
def _over_batch(
    asked: ByContent[tuple[Model, Contract]],
    size: int,
    variables: Variables,
    chosen: Leaves,
    batch: Batch,
) -> Curvature:
    """`Curvature` of a batch, by `size` examples at a time."""
    model, contract = asked.value
    num_examples = count_examples(batch)
    example = jax.vmap(partial(_example, model, variables, chosen))

    def sums(rows: Array, counts: Array) -> Curvature:
        x, y = jax.tree.map(lambda a: a[rows], batch)
        jacobian, product, log_likelihood = example(x, y, counts)
        return Curvature(contract(jacobian, product), log_likelihood.sum())

    # The last turn is filled up with examples that count for nothing.
    turns = np.arange(ceil(num_examples / size) * size).reshape(-1, size)
    rows, counts = (
        jnp.asarray(np.minimum(turns, num_examples - 1)),
        jnp.asarray(turns < num_examples),
    )
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(sums, rows[0], counts[0]))
    add = lambda total, turn: (jax.tree.map(jnp.add, total, sums(*turn)), None)
    return lax.scan(add, zeros, (rows, counts))[0]


def _example(
    model: Model, variables: Variables, chosen: Leaves, x: Any, y: Any, counts: Array
) -> tuple[Leaves, Leaves, Scalar]:
    """``J`` and ``H J`` by path, "outputs *shape", and the log likelihood of one example."""
    alone = lambda tree: jax.tree.map(lambda a: a[None], tree)
    params = variables["params"]

    def apply(leaves: Leaves) -> Any:
        weights: Params = replace(params, leaves)
        with named_errors(x):
            outputs = model.apply({**variables, "params": weights}, alone(x))
        return jax.tree.map(_wide, outputs)

    def log_likelihood(outputs: Array) -> Scalar:
        return per_example(model.likelihood, unravel(outputs), alone(y))[0]

    outputs, unravel = ravel_pytree(apply(chosen))
    value, hessian = log_likelihood(outputs), -jax.hessian(log_likelihood)(outputs)
    jacobian = jax.tree.map(_wide, jax.jacrev(lambda w: ravel_pytree(apply(w))[0])(chosen))
    hessian, value = (jnp.where(counts, a, 0) for a in (hessian, value))
    product = jax.tree.map(lambda j: jnp.tensordot(hessian, j, 1), jacobian)
    return jacobian, product, value


def _wide(x: Array) -> Array:
    """In single precision or better, whatever dtype the net computes in."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
