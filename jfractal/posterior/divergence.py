"""How far a posterior is from its prior."""

from typing import Any

import jax
import jax.numpy as jnp

from jfractal.posterior.gaussian import gaussians
from jfractal.typing import KeyArray, Params, Scalar

__all__ = ["kl"]


def kl(params: Params, prior: Any, key: KeyArray | None = None) -> Scalar:
    """Kullback-Leibler divergence KL(q ‖ p) of a tree, in nats, summed over all weights.

    Leaves that are arrays are point estimates and contribute nothing.

    Args:
        params: A tree with Gaussian leaves.
        prior: See `jfractal.priors`; closed form where the prior has one, else one Monte Carlo
            draw for each weight.
        key: Random key; needed by priors without a closed form only.

    Returns:
        A scalar.

    Raises:
        InputError: If the prior needs a key and none is given.
    """
    leaves = gaussians(params)
    keys = [None] * len(leaves) if key is None else jax.random.split(key, max(len(leaves), 1))
    return sum((prior.kl(leaf, k) for leaf, k in zip(leaves, keys)), start=jnp.zeros(()))
