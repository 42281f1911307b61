"""How far a posterior is from its prior."""

import jax
import jax.numpy as jnp

from jfractal.posterior.gaussian import Gaussian, named_leaves
from jfractal.posterior.priors import PriorLike, as_prior
from jfractal.posterior.routes import Routes
from jfractal.typing import KeyArray, Params, Scalar

__all__ = ["kl", "kl_by_leaf"]


def kl(params: Params, prior: PriorLike, key: KeyArray | None = None) -> Scalar:
    """Kullback-Leibler divergence KL(q ‖ p) of a tree, in nats, summed over all weights.

    Leaves that are arrays are point estimates and contribute nothing. A `Routes` has a prior of its
    own, the uniform distribution.

    Args:
        params: A tree with Gaussian leaves.
        prior: See `jfractal.priors`; closed form where the prior has one, else one Monte Carlo
            draw for each weight.
        key: Random key; needed by priors without a closed form only.

    Returns:
        A scalar.

    Raises:
        InputError: If the prior needs a key and none is given, or does not fit the tree.
    """
    return sum(kl_by_leaf(params, prior, key).values(), start=jnp.zeros(()))


def kl_by_leaf(params: Params, prior: PriorLike, key: KeyArray | None = None) -> dict[str, Scalar]:
    """The terms of `kl`, one for each leaf that is a distribution: where the information is.

    Args:
        params: A tree with Gaussian leaves.
        prior: As for `kl`.
        key: As for `kl`; with the same key the sum is the same.

    Returns:
        Nats by path, e.g. ``{"head/kernel": 12.3}``.

    Raises:
        InputError: As for `kl`.
    """
    prior = as_prior(prior)
    named = named_leaves(params)
    routes = {path: x.kl() for path, x in named if isinstance(x, Routes)}
    leaves = {path: x for path, x in named if isinstance(x, Gaussian)}
    keys = [None] * len(leaves) if key is None else jax.random.split(key, max(len(leaves), 1))
    gaussians = {
        path: prior.at(path, leaf.mean.shape).kl(leaf, k)
        for (path, leaf), k in zip(leaves.items(), keys)
    }
    return gaussians | routes
