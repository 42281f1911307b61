"""Deep ensembles: the same fit from many starts, side by side in one program."""

from collections.abc import Callable

import jax

from jfractal.errors import InputError
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

    Source: Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using
        deep ensembles", NeurIPS 2017; Wilson & Izmailov, "Bayesian deep learning and a
        probabilistic perspective of generalization", NeurIPS 2020, §3 (mixtures).
    """
    if num_members < 1:
        raise InputError(f"`num_members` must be at least 1, got {num_members}")
    return Ensemble(jax.vmap(fit)(jax.random.split(key, num_members)))
