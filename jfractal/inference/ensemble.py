"""Deep ensembles: the same fit from many starts, side by side in one program."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jfractal.concrete import concrete
from jfractal.counts import check_counts
from jfractal.errors import DivergenceError
from jfractal.posterior.samples import Ensemble, Posterior
from jfractal.typing import KeyArray

__all__ = ["ensemble"]


def ensemble(fit: Callable[[KeyArray], Posterior], key: KeyArray, num_members: int) -> Ensemble:
    """``p(w | D) ≈ mean_m q_m(w)``: members that differ in their start and in their batches.

    Of `maximum_a_posteriori` a deep ensemble, of `variational`, `swag` or `laplace` a mixture of
    Gaussians, of `sgld` or `sghmc` several chains. The members are vmapped: each step is one
    program for all of them, and needs the memory of all of them.

    Args:
        fit: One member from a random key, e.g. ``lambda key: jf.swag(log_joint, init, key, ...)``.
        key: Random key.
        num_members: Number of members, at least 1.

    Returns:
        An `Ensemble`.

    Raises:
        InputError: If `num_members` is smaller than 1.
        DivergenceError: If weights of a member are NaN, unless the ensemble is traced itself.

    Source: Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using
        deep ensembles", NeurIPS 2017; Wilson & Izmailov, "Bayesian deep learning and a
        probabilistic perspective of generalization", NeurIPS 2020, §3 (mixtures).
    """
    check_counts(num_members=num_members)
    members = jax.vmap(fit)(jax.random.split(key, num_members))
    _check_members(members)
    return Ensemble(members)


def _check_members(members: Posterior) -> None:
    """The fits could not see that they diverged, being vmapped."""
    weights = [w for w in jax.tree.leaves(members) if jnp.issubdtype(w.dtype, jnp.inexact)]
    nan = [jnp.isnan(w).reshape(len(w), -1).any(1) for w in weights]
    known = concrete(jnp.any(jnp.stack(nan), axis=0)) if nan else None
    if known is not None and known.any():
        raise DivergenceError(
            f"members {np.flatnonzero(known).tolist()} of the {len(known)} diverged, their weights "
            "are NaN: try a smaller learning rate, one that warms up, or gradient clipping"
        )
