"""Laplace's approximation: the Gaussian that the log joint looks like from its maximum."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.flatten_util import ravel_pytree

from jfractal.concrete import concrete
from jfractal.errors import InputError
from jfractal.inference.curvature import (
    gauss_newton,
    gauss_newton_diagonal,
    prior_hessian,
    prior_precision,
)
from jfractal.inference.log_joint import LogJoint
from jfractal.inference.maximum_a_posteriori import maximum_a_posteriori
from jfractal.posterior.factor_gaussian import FactorGaussian
from jfractal.posterior.gaussian import Gaussian, Where, everywhere, inverse_softplus
from jfractal.posterior.leaves import replace, select
from jfractal.posterior.samples import MeanField
from jfractal.typing import Array, Float, KeyArray, Params

__all__ = ["diagonal_laplace", "laplace"]


def laplace(
    log_joint: LogJoint,
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    batch_size: int | None = None,
    where: Where = everywhere,
) -> FactorGaussian:
    """``q(w) = N(ŵ, (G + P)⁻¹)``, full covariance, at the maximum a posteriori ŵ.

    G is the Gauss–Newton matrix of the likelihood, see `gauss_newton`, and P the precision of the
    prior. Exact for a Gaussian posterior. A matrix over all chosen weights is built and factorised:
    choose a last layer, or all of a small net. Likelihood and prior must be log-concave, the one in
    the model's outputs and the other at ŵ, and where the data say nothing the prior must be curved;
    else the matrix may have no inverse.

    Args:
        log_joint: Data, model, prior and likelihood.
        init: Draws the start, e.g. ``lambda key: net.init(key, x)["params"]``.
        key: Random key.
        optimizer: From optax, to find ŵ; it sees the log joint in nats per example.
        num_steps: Number of its steps, at least 1.
        batch_size: Examples in a step, and whose Jacobians ("batch outputs weights") are in memory
            at a time afterwards; all of them if left out.
        where: ``where(path, leaf)`` picks the leaves that become uncertain, e.g.
            ``lambda path, leaf: path.startswith("head/")``; the others stay at ŵ.

    Returns:
        A `FactorGaussian` posterior with as many factors as chosen weights.

    Raises:
        InputError: If `num_steps` or `batch_size` is out of range, `where` picks nothing, or the
            matrix has no inverse root; under `jit`, draws are NaN.
        DivergenceError: If ŵ is not finite; under `jit`, draws are NaN.

    Source: MacKay, Neural Computation 1992; Daxberger et al., "Laplace redux", NeurIPS 2021.
    """
    params = _maximum(log_joint, init, key, optimizer, num_steps, batch_size)
    prior = prior_hessian(log_joint, params, where)
    precision = prior + gauss_newton(log_joint, params, where, batch_size=batch_size)
    rows = _finite(_inverse_root(precision, prior))
    chosen = select(params, where)
    _, unravel = ravel_pytree(chosen)
    std = jax.tree.map(jnp.zeros_like, chosen)
    return FactorGaussian(params, std=std, factors=jax.vmap(unravel)(rows))


def _inverse_root(
    precision: Float[Array, "weights weights"], prior: Float[Array, "weights weights"]
) -> Float[Array, "weights weights"]:
    """Rows r_k with ``precision⁻¹ = Σ_k r_k r_kᵀ``."""
    # (R Rᵀ)⁻¹ = R⁻ᵀ R⁻¹, a hundred times faster; NaN in float32 where many data have little noise.
    root = jnp.linalg.cholesky(precision)
    rows = jax.scipy.linalg.solve_triangular(root, jnp.eye(len(root)), lower=True)
    finite = jnp.isfinite(rows).all()

    def by_eigenvalues() -> Array:
        # Under vmap both branches run, and two batches of LAPACK at once may wait for each other's
        # threads for ever: so this one waits for the root, and is one call for both matrices.
        both = jnp.where(finite, jnp.eye(len(prior)), jnp.stack([precision, prior]))
        (values, of_prior), (vectors, _) = jnp.linalg.eigh(both)
        # None is below the prior's least, but for rounding, which goes by the largest.
        return vectors.T / jnp.sqrt(jnp.maximum(values, of_prior[0]))[:, None]

    return lax.cond(finite, lambda: rows, by_eigenvalues)


def _finite(numbers: Array) -> Array:
    """What they are; if they can be seen not to be finite, there is no Gaussian to make of them."""
    known = concrete(numbers)
    if known is not None and not np.isfinite(known).all():
        raise InputError(
            "the log joint must be finite and curved downwards in every direction at its maximum: "
            "choose a `prior` that is, such as a Gaussian, or other weights by `where`"
        )
    return numbers


def diagonal_laplace(
    log_joint: LogJoint,
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    batch_size: int | None = None,
    where: Where = everywhere,
) -> MeanField:
    """``q(w_i) = N(ŵ_i, 1 / (G + P)_ii)``: `laplace` without correlations.

    The variances are those of a weight given all others, as for the best mean-field Gaussian.

    Args:
        log_joint: As for `laplace`.
        init: As for `laplace`.
        key: Random key.
        optimizer: As for `laplace`.
        num_steps: As for `laplace`.
        batch_size: As for `laplace`.
        where: As for `laplace`.

    Returns:
        A `MeanField` posterior, the chosen leaves Gaussian and the others arrays.

    Raises:
        InputError: As for `laplace`, or if the weights of a leaf are not independent under the
            prior.
        DivergenceError: As for `laplace`.
    """
    params = _maximum(log_joint, init, key, optimizer, num_steps, batch_size)
    precision = gauss_newton_diagonal(log_joint, params, where, batch_size=batch_size)
    precision += prior_precision(log_joint, params, where)
    chosen = select(params, where)
    _, unravel = ravel_pytree(chosen)
    rho = unravel(_finite(inverse_softplus(1 / jnp.sqrt(precision))))
    return MeanField(replace(params, jax.tree.map(Gaussian, chosen, rho)))


def _maximum(
    log_joint: LogJoint,
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    batch_size: int | None,
) -> Params:
    point = maximum_a_posteriori(
        log_joint, init, key, optimizer=optimizer, num_steps=num_steps, batch_size=batch_size
    )
    return point.variables["params"]
