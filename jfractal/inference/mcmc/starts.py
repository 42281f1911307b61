"""Starts of chains: draws of a function, a tree of starts, or the members of a posterior."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jfractal import ops
from jfractal.arguments import naming
from jfractal.errors import InputError
from jfractal.identity import ByContent
from jfractal.inference.mcmc.parts import Parts
from jfractal.inference.method import started
from jfractal.posterior.gaussian import Where, check_weights, mean, named_leaves
from jfractal.posterior.posterior import Posterior
from jfractal.posterior.samples import Ensemble, Samples
from jfractal.typing import KeyArray, Params, Variables

__all__ = ["Starts", "starting_points"]

Starts: TypeAlias = Callable[[KeyArray], Params | Variables] | Params | Variables | Posterior
"""A function of a key; weights or variables with a leading axis of chains; an ensemble."""


def starting_points(
    starts: Starts, key: KeyArray, num_chains: int, where: Where
) -> tuple[Variables, Parts]:
    """The variables of a model with a leading axis of chains, and the parts that move.

    If a function starts the chains, the fixed part is the same in all of them; otherwise, they
    would sample different posteriors.

    Raises:
        InputError: If there are not as many starts as chains, or they are not weights.
    """
    keys = jax.random.split(key, num_chains)
    if isinstance(starts, Posterior):
        return _known(_members(starts, keys), where)
    # A tree may be callable too, as an Equinox module is.
    if callable(starts) and jax.tree_util.all_leaves([starts]):
        return _drawn(starts, keys, where)
    with naming("starts"):
        check_weights(_weights(starts))
    for path, leaf in named_leaves(starts):
        for x in jax.tree.leaves(leaf):
            if jnp.shape(x)[:1] != (num_chains,) or not jnp.size(x):
                raise InputError(
                    "`starts` must be a function of a key, an ensemble, or a tree with a leading "
                    f"axis of `num_chains`, {num_chains}, got shape {jnp.shape(x)} at '{path}'"
                )
    return _known(_variables(starts, key), where)


def _weights(start: Any) -> Params:
    return start["params"] if isinstance(start, dict) and "params" in start else start


def _variables(start: Any, key: KeyArray) -> Variables:
    """All variables that `apply` takes, with the means of Gaussian weights."""
    with naming("starts"):
        weights, rest = started(start, key)
    return {**rest, "params": mean(weights)}


def _known(variables: Variables, where: Where) -> tuple[Variables, Parts]:
    return variables, Parts.of(jax.tree.map(lambda x: x[0], variables), where)


@partial(ops.jit, static_argnums=0)
def _sampled(starts: ByContent[Callable], keys: Any) -> Variables:
    return jax.vmap(lambda key: _variables(starts.value, key))(keys)


def _drawn(starts: Callable, keys: Any, where: Where) -> tuple[Variables, Parts]:
    # Compiled: of `net.init(key, x)`, the pass over x is never run.
    variables, parts = _known(_sampled(ByContent(starts), keys), where)
    moving, still = parts.split(variables)
    return parts.joined(moving, [jnp.broadcast_to(x[:1], x.shape) for x in still]), parts


def _members(posterior: Posterior, keys: Any) -> Variables:
    if not isinstance(posterior, Ensemble | Samples):
        raise InputError(
            "`starts` must be an `Ensemble` or `Samples` if it is a posterior, got "
            f"{type(posterior).__name__}: `lambda key: posterior.sample(key)` starts from draws"
        )
    number, num_chains = len(posterior), len(keys)
    if number != num_chains:
        raise InputError(
            f"`starts` must have as many members as there are chains: it has {number}, and "
            f"`num_chains` is {num_chains}"
        )
    places = (jnp.arange(number) + 0.5) / number
    return jax.vmap(lambda u, key: posterior.member(u).sample(key))(places, keys)
