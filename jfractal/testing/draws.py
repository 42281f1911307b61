"""Draws of a posterior's weights, for statistics."""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jfractal.arguments import check_key, described
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.mcmc.chains import Chains
from jfractal.posterior.samples import Ensemble, Posterior, Samples
from jfractal.typing import Float, KeyArray, Params

__all__ = ["Draws", "draws_of", "stacked"]

Draws: TypeAlias = Float[np.ndarray, "chains draws weights"]

NUM_GROUPS = 4  # that independent draws are dealt to, as if they were chains


def stacked(posterior: Any, key: KeyArray, num_draws: int) -> Params:
    """The tree of weights with a leading axis of draws; stored draws are evenly thinned.

    Draws are those of `jfractal.sample_outputs`, but the function can be traced.
    """
    keys = jax.random.split(key, num_draws)
    if hasattr(posterior, "member"):
        points = (jnp.arange(num_draws) + 0.5) / num_draws
        draw = lambda u, key: posterior.member(u).sample(key)
        return jax.vmap(draw)(points, keys)["params"]
    return jax.vmap(posterior.sample)(keys)["params"]


def draws_of(posterior: Posterior, key: KeyArray, num_draws: int = 20_000) -> Draws:
    """The draws that a posterior holds, or independent draws if it holds none.

    Args:
        posterior: `Chains`; `Samples` (one chain) or an ensemble of them (several chains); or any
            other posterior, from which `num_draws` draws are made.
        key: Random key.
        num_draws: Number of draws to make, at least 16.

    Returns:
        Draws "chains draws weights", in float64, with weights in the order of
        `jax.flatten_util.ravel_pytree`.

    Raises:
        InputError: If `num_draws` is too small.
    """
    if not isinstance(posterior, Chains) and not hasattr(posterior, "sample"):
        raise InputError(f"`posterior` must be a posterior, got {described(posterior)}")
    check_key("key", key)
    check_counts(4 * NUM_GROUPS, num_draws=num_draws)
    match posterior:
        case Chains(params=params) | Ensemble(members=Samples(params=params)):
            return _flat(params)
        case Samples(params=params):
            return _flat(jax.tree.map(lambda w: w[None], params))
    size = num_draws // NUM_GROUPS
    draws = jax.jit(lambda key: stacked(posterior, key, NUM_GROUPS * size))(key)
    return _flat(jax.tree.map(lambda w: w.reshape(NUM_GROUPS, size, *w.shape[1:]), draws))


def _flat(params: Params) -> Draws:
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(params)]
    return np.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves], axis=-1)
