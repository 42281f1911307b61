"""What every inference method returns: an object with ``sample(key) -> variables``."""

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import jax

from jfractal.posterior.gaussian import sample
from jfractal.typing import KeyArray, Params, Variables

__all__ = ["MeanField", "Point", "Posterior", "Samples"]


@runtime_checkable
class Posterior(Protocol):
    """A distribution over the variables of a Flax model."""

    def sample(self, key: KeyArray) -> Variables:
        """One draw, as `apply` takes it: ``{"params": ..., ...}``, arrays only."""
        ...


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
        index = jax.random.randint(key, (), 0, len(self))
        params: Any = jax.tree.map(lambda x: x[index], self.params)
        return {"params": params, **self.variables}
