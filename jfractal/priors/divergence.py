"""The Kullback-Leibler divergence of a posterior from its prior."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from jfractal.arguments import check_key
from jfractal.posterior.gaussian import Gaussian, check_weights, named_leaves
from jfractal.posterior.posterior import check_tree
from jfractal.posterior.pruning import pruned
from jfractal.posterior.routes import Routes
from jfractal.priors.distribution import PriorLike, as_prior
from jfractal.priors.prior import Prior
from jfractal.typing import KeyArray, Params, Scalar

__all__ = ["kl", "kl_by_leaf"]


def kl(params: Params, prior: PriorLike, key: KeyArray | None = None) -> Scalar:
    """Kullback-Leibler divergence KL(q ‖ p) of a tree, in nats, summed over all weights.

    Leaves that are arrays are point estimates and contribute nothing. Pruned weights contribute
    nothing either, see `prune`. The prior of a `Routes` leaf is always the uniform distribution.

    Args:
        params: A tree with Gaussian leaves.
        prior: The prior, see `jfractal.priors`. The KL is exact if it has a closed form; otherwise,
            it is estimated from one Monte Carlo draw of each weight.
        key: Random key, needed only if the KL has no closed form.

    Returns:
        A scalar.

    Raises:
        InputError: If the prior needs a key and none is given, or does not fit the tree, or
            `params` is a posterior.
    """
    return jnp.asarray(sum(kl_by_leaf(params, prior, key).values(), start=0.0))


def kl_by_leaf(params: Params, prior: PriorLike, key: KeyArray | None = None) -> dict[str, Scalar]:
    """The terms of `kl`, one for each leaf that is a distribution.

    The terms show which leaves hold the information about the data.

    Args:
        params: A tree with Gaussian leaves.
        prior: The prior, see `jfractal.priors`. A KL without a closed form is estimated from one
            draw of each weight.
        key: Random key, needed only if the KL has no closed form. With the same key, the terms sum
            to `kl`.

    Returns:
        Nats by path, e.g. ``{"head/kernel": 12.3}``.

    Raises:
        InputError: If the prior needs a key and none is given, or does not fit the tree, or
            `params` is a posterior.
    """
    check_tree(params, "kl", "it with the `params` of a `MeanField`; others have no KL here")
    prior = as_prior(prior)
    check_weights(params)
    if key is not None:
        check_key("key", key)
    named = named_leaves(params)
    routes = {path: x.kl() for path, x in named if isinstance(x, Routes)}
    leaves = {path: x for path, x in named if isinstance(x, Gaussian)}
    keys = [None] * len(leaves) if key is None else jax.random.split(key, max(len(leaves), 1))
    gaussians = {
        path: _of_leaf(prior.at(path, leaf.mean.shape), leaf, k)
        for (path, leaf), k in zip(leaves.items(), keys)
    }
    return gaussians | routes


def _of_leaf(prior: Prior, leaf: Gaussian, key: KeyArray | None) -> Scalar:
    is_pruned = pruned(leaf)
    # As good as 0, yet with a logarithm, and so for the gradient too, in every dtype.
    narrow = replace(leaf, rho=jnp.where(is_pruned, -12, leaf.rho).astype(leaf.rho.dtype))
    terms = jnp.asarray(prior.kl(narrow, key))
    if terms.shape == is_pruned.shape:
        return jnp.where(is_pruned, 0, terms).sum()
    # A joint density of all weights says nothing of that of some.
    return jnp.where(is_pruned.any(), jnp.nan, terms.sum())
