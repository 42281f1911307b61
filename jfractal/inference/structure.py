"""The covariances that Laplace's approximation can have: whole, diagonal, Kronecker-factored."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from jfractal.concrete import concrete
from jfractal.errors import InputError
from jfractal.inference import curvature
from jfractal.inference.curvature import Contract, Leaves
from jfractal.posterior.factor_gaussian import FactorGaussian
from jfractal.posterior.gaussian import Gaussian
from jfractal.posterior.kronecker_gaussian import KroneckerGaussian
from jfractal.posterior.leaves import replace, select
from jfractal.posterior.posterior import Posterior
from jfractal.posterior.samples import MeanField
from jfractal.posterior.softplus import inverse_softplus
from jfractal.priors.prior import Prior
from jfractal.typing import Array, Float, Params, Scalar, Variables

__all__ = ["STRUCTURES", "Structure"]


class Structure(NamedTuple):
    """A way to store a precision matrix, and the Gaussian with that precision.

    Attributes:
        contract: Picks the parts of the Gauss–Newton matrix, see `jfractal.inference.curvature`.
        gaussian: ``gaussian(prior, parts, chosen, params, variables)`` returns the Gaussian around
            `params`, and the log determinant of its precision.
        sides: Gives the sides of the matrices to factorise, from the shape of each leaf as a
            matrix.
    """

    contract: Contract
    gaussian: Callable[[Prior, Any, Leaves, Params, Variables], tuple[Posterior, Scalar]]
    sides: Callable[[list[tuple[int, int]]], tuple[int, ...]]


def _full(
    prior: Prior, parts: Array, chosen: Leaves, params: Params, variables: Variables
) -> tuple[FactorGaussian, Scalar]:
    own = curvature.prior_hessian(prior, chosen)
    rows, log_det = _inverse_root(parts + own, own)
    _check_full(rows, parts + own, chosen)
    factors = jax.vmap(ravel_pytree(chosen)[1])(rows)
    std = jax.tree.map(jnp.zeros_like, chosen)
    return FactorGaussian(params, std=std, factors=factors, variables=variables), log_det


@jax.jit  # or every call would compile the two ways anew
def _inverse_root(
    precision: Float[Array, "weights weights"], prior: Float[Array, "weights weights"]
) -> tuple[Float[Array, "weights weights"], Scalar]:
    """Rows r_k with ``precision⁻¹ = Σ_k r_k r_kᵀ``, and ``log |precision|``; NaN if indefinite."""
    # (R Rᵀ)⁻¹ = R⁻ᵀ R⁻¹, a hundred times faster; NaN in float32 where many data have little noise.
    root = jnp.linalg.cholesky(precision)
    rows = jax.scipy.linalg.solve_triangular(root, jnp.eye(len(root)), lower=True)
    finite = jnp.isfinite(rows).all()

    def by_eigenvalues() -> tuple[Array, Scalar]:
        # Under vmap both branches run, and two batches of LAPACK at once may wait for each other's
        # threads for ever: so this one waits for the root, and is one call for both matrices.
        both = jnp.where(finite, jnp.eye(len(prior)), jnp.stack([precision, prior]))
        (values, of_prior), (vectors, _) = jnp.linalg.eigh(both)
        # None is below the prior's least if the data curve nowhere upwards, but for rounding.
        values = _above(of_prior[0], values)
        return vectors.T / jnp.sqrt(values)[:, None], jnp.log(values).sum()

    def by_root() -> tuple[Array, Scalar]:
        return rows, 2 * jnp.log(jnp.diagonal(root)).sum()

    return lax.cond(finite, by_root, by_eigenvalues)


def _diagonal(
    prior: Prior, parts: Leaves, chosen: Leaves, params: Params, variables: Variables
) -> tuple[MeanField, Scalar]:
    precision = jax.tree.map(jnp.add, parts, curvature.prior_precision(prior, chosen))
    for path, values in precision.items():
        _check(path, values, values)
    rho = jax.tree.map(lambda p: inverse_softplus(1 / jnp.sqrt(p)), precision)
    means = select(params, lambda path, _: path in chosen)
    leaves = {path: Gaussian(m, rho[path].astype(m.dtype)) for path, m in means.items()}
    return MeanField(replace(params, leaves), variables), _log_det(precision)


def _kronecker(
    prior: Prior, parts: Leaves, chosen: Leaves, params: Params, variables: Variables
) -> tuple[KroneckerGaussian, Scalar]:
    own = curvature.prior_precision(prior, chosen)
    inputs, outputs, precision = {}, {}, {}
    for path, (a, b) in parts.items():
        of_inputs, inputs[path] = jnp.linalg.eigh(a)
        of_outputs, outputs[path] = jnp.linalg.eigh(b)
        # None is negative if the data curve nowhere upwards, but for rounding.
        products = jnp.outer(_above(0.0, of_inputs), _above(0.0, of_outputs))
        trace = jnp.trace(a)
        values = products / jnp.where(trace == 0, 1, trace) + _shared(path, own[path])
        factors = jnp.minimum(of_inputs.min(), of_outputs.min())
        _check(path, values, jnp.where(jnp.isnan(values).any(), factors, values.min()))
        precision[path] = values
    std = jax.tree.map(lambda p: 1 / jnp.sqrt(p), precision)
    return KroneckerGaussian(params, inputs, outputs, std, variables), _log_det(precision)


STRUCTURES: dict[str, Structure] = {
    "full": Structure(curvature.full, _full, lambda sizes: (sum(a * b for a, b in sizes),)),
    "diagonal": Structure(curvature.diagonal, _diagonal, lambda sizes: ()),
    "kronecker": Structure(curvature.kronecker, _kronecker, lambda sizes: sum(sizes, ())),
}


def _above(floor: Any, eigenvalues: Array) -> Array:
    """Eigenvalues, raised to a floor if only rounding took them below it, and NaN otherwise."""
    # Rounding goes by the largest.
    slack = 10 * eigenvalues.size * jnp.finfo(eigenvalues.dtype).eps * abs(eigenvalues).max()
    lifted = jnp.maximum(eigenvalues, floor)
    return jnp.where(eigenvalues < floor - slack, jnp.nan, lifted)


def _shared(path: str, precision: Array) -> Scalar:
    """The one precision that a prior gives all weights of a leaf; NaN if it gives several."""
    low, high = precision.min(), precision.max()
    known = concrete(jnp.stack([low, high]))
    if known is not None and not np.isclose(*known, rtol=1e-4):
        raise InputError(
            "`structure='kronecker'` needs a prior with one precision for all weights of a leaf, "
            f"such as a Gaussian, got precisions from {known[0]:.3g} to {known[1]:.3g} at "
            f"'{path}': choose such a `prior`, or another `structure`"
        )
    return jnp.where(jnp.isclose(low, high, rtol=1e-4), (low + high) / 2, jnp.nan)


def _log_det(precision: Leaves) -> Scalar:
    return jnp.asarray(sum((jnp.log(p).sum() for p in precision.values()), start=0.0))


def _check_full(rows: Array, precision: Array, chosen: Leaves) -> None:
    known, matrix = concrete(rows), concrete(precision)
    if known is None or matrix is None or np.isfinite(known).all():
        return
    paths = np.repeat(sorted(chosen), [chosen[path].size for path in sorted(chosen)])
    finite = np.isfinite(matrix).all(1)
    if not finite.all():
        _check(paths[~finite][0], known, matrix[~finite])
    values, vectors = np.linalg.eigh(matrix.astype(np.float64))
    most = np.argmax(abs(vectors[:, 0]))
    _check(paths[most], known, values)


def _check(path: str, finite: Any, eigenvalues: Any) -> None:
    """Refuses a precision of no Gaussian, outside `jit`, and names the leaf and the curvature.

    Args:
        path: Path of the leaf.
        finite: Numbers that are finite and positive if there is a Gaussian.
        eigenvalues: Eigenvalues of the precision, or of the data's part in it. The message shows
            the least.
    """
    known, values = concrete(finite), concrete(eigenvalues)
    if known is None or values is None or (np.isfinite(known).all() and (known > 0).all()):
        return
    raise InputError(
        "the log joint must be finite and curved downwards in every direction at `params`, got "
        f"a downward curvature of {values.min():.3g} at '{path}': choose a `prior` and a "
        "likelihood that are, such as Gaussians, or other weights by `where`"
    )
