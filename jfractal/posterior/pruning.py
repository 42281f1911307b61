"""Pruning by signal-to-noise, ``|mean| / std``: removes weights that the posterior is unsure of."""

from dataclasses import replace
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp

from jfractal.arguments import check_fraction, check_functions
from jfractal.counts import check_counts
from jfractal.posterior.gaussian import (
    Gaussian,
    Where,
    check_weights,
    everywhere,
    gaussians,
    map_gaussians,
)
from jfractal.posterior.posterior import check_tree
from jfractal.typing import Array, Bool, Params, Scalar

__all__ = ["group_snr", "prune", "pruned", "settled", "snr", "unit_snr"]

INSTEAD = "it with the `params` of a `MeanField`"


def snr(params: Params) -> Params:
    """Signal-to-noise of every weight, ``|mean| / std``.

    Args:
        params: A tree with Gaussian leaves.

    Returns:
        The same tree, of arrays. Leaves that are arrays have no noise, so theirs is infinite.

    Source: Blundell et al., "Weight uncertainty in neural networks", ICML 2015, §5.1.
    """

    check_tree(params, "snr", INSTEAD)
    check_weights(params)

    def ratio(leaf: Any) -> Array:
        if isinstance(leaf, Gaussian):
            return jnp.abs(leaf.wide.mean) / _not_zero(leaf.wide.std)
        return jnp.full(jnp.shape(leaf), jnp.inf)

    return jax.tree.map(ratio, params, is_leaf=_is_gaussian)


def group_snr(params: Params, *, where: Where = everywhere) -> Scalar:
    """Signal-to-noise of a group of weights, ``√(Σ mean² / Σ std²)``.

    For a single weight, this is `snr`. A column of a fractal net is such a group:
    ``where=lambda path, leaf: "column2_" in path``.

    Args:
        params: A tree with Gaussian leaves.
        where: ``where(path, mean)`` picks the Gaussian leaves of the group.

    Returns:
        A scalar. It is infinite if the group has no Gaussian leaf, and so no noise.
    """
    check_tree(params, "group_snr", INSTEAD)
    if jax.tree.leaves(params):
        check_weights(params)
    check_functions(where=where)
    group = [leaf.wide for leaf in gaussians(params, where)]
    if not group:
        return jnp.asarray(jnp.inf)
    signal = jnp.sqrt(sum((leaf.mean**2).sum() for leaf in group))
    noise = jnp.sqrt(sum((leaf.std**2).sum() for leaf in group))
    return signal / _not_zero(noise)


def unit_snr(params: Params, *, axis: int = -1) -> Params:
    """Signal-to-noise of the units of every layer: `group_snr` of each slice of each leaf.

    Args:
        params: A tree with Gaussian leaves.
        axis: -1 for the outputs (columns of a matrix, filters of a convolution), -2 for the
            inputs (rows of a matrix). A bias counts as the row of a constant input.

    Returns:
        The tree with a vector instead of each leaf.
    """

    check_tree(params, "unit_snr", INSTEAD)
    check_weights(params)
    check_counts(-2, -1, axis=axis)

    def by_slice(leaf: Any) -> Array:
        return jax.vmap(group_snr, in_axes=axis)(jax.tree.map(jnp.atleast_2d, leaf))

    return jax.tree.map(by_slice, params, is_leaf=_is_gaussian)


def prune(params: Params, fraction: float, *, where: Where = everywhere) -> Params:
    """Sets the given fraction of weights, those with the lowest signal-to-noise, to exactly zero.

    All weights of the tree are ranked together. Pruned weights get mean 0 and standard deviation 0
    (a rho of −∞), so that they are exactly zero in every draw. They are no longer part of the
    model: the prior of the pruned net also puts all its mass on zero there, so their `kl` is 0. To
    train the pruned net further, start a method from it; pruned weights get no gradient.

    Args:
        params: A tree with Gaussian leaves.
        fraction: Fraction of the picked weights to prune, between 0 and 1, rounded to whole
            weights.
        where: ``where(path, mean)`` picks the Gaussian leaves to prune.

    Returns:
        The tree, with the same shapes.

    Raises:
        InputError: If `fraction` is not between 0 and 1, or `params` is a posterior.

    Source: Blundell et al., ICML 2015, §5.1 and Table 2.
    """
    check_tree(params, "prune", INSTEAD)
    check_weights(params)
    check_fraction(fraction=fraction)
    check_functions(where=where)
    ratios = [snr(leaf).ravel() for leaf in gaussians(params, where)]
    if not ratios:
        return params
    order = jnp.argsort(jnp.concatenate(ratios))
    dead = jnp.zeros(order.shape, bool).at[order[: round(fraction * order.size)]].set(True)
    masks = iter(jnp.split(dead, list(accumulate(r.size for r in ratios[:-1]))))

    def silence(leaf: Gaussian) -> Gaussian:
        mask = next(masks).reshape(leaf.mean.shape)
        # In every parameterisation a rho of -∞ is a standard deviation of zero.
        rho = jnp.where(mask, -jnp.inf, leaf.rho)
        return replace(leaf, mean=jnp.where(mask, 0, leaf.mean), rho=rho)

    return map_gaussians(silence, params, where)


def pruned(leaf: Gaussian) -> Bool[Array, "*shape"]:
    """True for the weights of a leaf that have been pruned."""
    return leaf.rho == -jnp.inf


def settled(params: Params) -> Params:
    """The same tree, through which no gradient reaches the means of pruned weights."""
    return map_gaussians(
        lambda leaf: replace(leaf, mean=jnp.where(pruned(leaf), 0, leaf.mean)), params
    )


def _is_gaussian(x: Any) -> bool:
    return isinstance(x, Gaussian)


def _not_zero(noise: Array) -> Array:
    """A pruned weight, which is exactly zero, has signal-to-noise 0 instead of 0/0."""
    return jnp.maximum(noise, jnp.finfo(noise.dtype).tiny)
