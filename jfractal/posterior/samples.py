"""What every inference method returns: an object with ``sample(key) -> variables``."""

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from jfractal.errors import InputError
from jfractal.posterior.gaussian import sample
from jfractal.typing import KeyArray, Params, Scalar, Variables

__all__ = ["Ensemble", "MeanField", "Point", "Posterior", "Samples", "check_posterior"]


@runtime_checkable
class Posterior(Protocol):
    """A distribution over the variables of a Flax model."""

    def sample(self, key: KeyArray) -> Variables:
        """One draw, as `apply` takes it: ``{"params": ..., ...}``, arrays only."""
        ...


def check_posterior(posterior: Any) -> None:
    """Refuses what cannot be drawn from.

    Raises:
        InputError: If it has no ``sample(key)``, or is a class in place of an instance.
    """
    if not isinstance(posterior, Posterior) or isinstance(posterior, type):
        raise InputError(
            "`posterior` must have `sample(key) -> variables`, as `Point({'params': tree})` and "
            f"`MeanField(tree)` have it, got {_kind(posterior)}"
        )


def _kind(x: Any) -> str:
    return f"the class {x.__name__}" if isinstance(x, type) else f"a {type(x).__name__}"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Point:
    """All mass on one setting of the variables: a trained deterministic net.

    Attributes:
        variables: As `apply` takes them.
    """

    variables: Variables

    def sample(self, key: KeyArray) -> Variables:
        """The variables, whatever the key."""
        return self.variables


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MeanField:
    """A variational posterior: the tree `params` with its Gaussian leaves.

    Attributes:
        params: A tree with Gaussian leaves, see `mean_field`.
        variables: Other collections that `apply` needs, e.g. ``{"batch_stats": ...}``.
    """

    params: Params
    variables: Variables = field(default_factory=dict)

    def sample(self, key: KeyArray) -> Variables:
        """One draw of all weights."""
        return {"params": sample(self.params, key), **self.variables}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Samples:
    """Equally weighted draws, stacked: Markov chains, ensembles.

    Attributes:
        params: The tree of weights with a leading axis of draws.
        variables: Other collections that `apply` needs, shared by all draws.
    """

    params: Params
    variables: Variables = field(default_factory=dict)

    def __len__(self) -> int:
        return jax.tree.leaves(self.params)[0].shape[0]

    def sample(self, key: KeyArray) -> Variables:
        """One of the draws, uniformly."""
        return self.sample_at(jax.random.uniform(key), key)

    def sample_at(self, u: float | Scalar, key: KeyArray) -> Variables:
        """Draw ``⌊u · draws⌋``, with u in [0, 1): even u use draws evenly. `key` is not used."""
        return {"params": _slice(self.params, u), **self.variables}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ensemble:
    """Equally weighted posteriors of one kind: deep ensembles, mixtures of Gaussians, chains.

    Attributes:
        members: A posterior, all of whose arrays have a leading axis of members.
    """

    # `Any`, for JAX rebuilds trees with shapes and other stand-ins where arrays were.
    members: Any

    def __len__(self) -> int:
        return jax.tree.leaves(self.members)[0].shape[0]

    def sample(self, key: KeyArray) -> Variables:
        """A draw of one of the members, uniformly."""
        key_member, key_draw = jax.random.split(key)
        return self.sample_at(jax.random.uniform(key_member), key_draw)

    def sample_at(self, u: float | Scalar, key: KeyArray) -> Variables:
        """A draw of member ``⌊u · members⌋``, with u in [0, 1): even u use members evenly."""
        return _slice(self.members, u).sample(key)


def _slice(stacked: Any, u: float | Scalar) -> Any:
    """Slice ``⌊u · n⌋`` of the leading axis, of length n, of every array of a tree."""
    n = jax.tree.leaves(stacked)[0].shape[0]
    # In float32 the product may round up to n.
    index = jnp.minimum(jnp.floor(jnp.asarray(u) * n).astype(int), n - 1)
    return jax.tree.map(lambda x: jnp.asarray(x)[index], stacked)
