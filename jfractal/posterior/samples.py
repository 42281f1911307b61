"""Posteriors over weights: a point, a mean field, draws, an ensemble."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from jfractal.arguments import check_key, check_rate
from jfractal.posterior import gaussian
from jfractal.posterior.posterior import Posterior
from jfractal.storage import storable
from jfractal.typing import KeyArray, Params, Scalar, Variables

__all__ = ["Ensemble", "MeanField", "Point", "Samples"]


@storable
@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Point(Posterior):
    """All mass on one setting of the variables: a trained deterministic net.

    Attributes:
        variables: Variables of the net, as `apply` takes them.
    """

    variables: Variables

    def sample(self, key: KeyArray) -> Variables:
        """The variables; the key is not used."""
        return self.variables

    def mean(self) -> Params:
        """The weights."""
        return self.variables["params"]

    def variance(self) -> Params:
        """Zeros."""
        return jax.tree.map(jnp.zeros_like, self.variables["params"])


@storable
@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class MeanField(Posterior):
    """A variational posterior: the tree `params` with its Gaussian leaves.

    Attributes:
        params: A tree with Gaussian leaves, see `mean_field`.
        variables: Other collections that `apply` needs, e.g. ``{"batch_stats": ...}``.
    """

    params: Params
    variables: Variables = field(default_factory=dict)

    @property
    def references(self) -> tuple[str, ...]:
        """The BibTeX key of the paper on Gaussian weights, whichever method found them."""
        return ("hinton1993",)

    def sample(self, key: KeyArray) -> Variables:
        """One draw of all weights."""
        return {"params": gaussian.sample(self.params, key), **self.variables}

    def mean(self) -> Params:
        """The means."""
        return gaussian.mean(self.params)

    def variance(self) -> Params:
        """The variances; 0 for leaves that are arrays."""
        return gaussian.variance(self.params)


@storable
@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Samples(Posterior):
    """Equally weighted draws, stacked: Markov chains, ensembles.

    Attributes:
        params: The tree of weights with a leading axis of draws.
        variables: Other collections that `apply` needs, with the same leading axis of draws.
    """

    params: Params
    variables: Variables = field(default_factory=dict)

    def __len__(self) -> int:
        return jax.tree.leaves(self.params)[0].shape[0]

    def sample(self, key: KeyArray) -> Variables:
        """One of the draws, uniformly."""
        check_key("key", key)
        return self.member(jax.random.uniform(key)).variables

    def member(self, u: float | Scalar) -> Point:
        """Draw ``⌊u · draws⌋``, with u in [0, 1); evenly spaced u use all draws equally often."""
        return Point(_slice({"params": self.params, **self.variables}, u))

    def mean(self) -> Params:
        """The mean over draws."""
        return jax.tree.map(lambda w: jnp.asarray(w).mean(0), self.params)

    def variance(self) -> Params:
        """The variance over draws."""
        return jax.tree.map(lambda w: jnp.asarray(w).var(0), self.params)


@storable
@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Ensemble(Posterior):
    """Equally weighted posteriors of one kind: deep ensembles, mixtures of Gaussians, chains.

    Attributes:
        members: A posterior whose arrays all have a leading axis of members.
    """

    # `Any`, for JAX rebuilds trees with shapes and other stand-ins where arrays were.
    members: Any

    def __len__(self) -> int:
        return jax.tree.leaves(self.members)[0].shape[0]

    @property
    def references(self) -> tuple[str, ...]:
        """BibTeX keys of the paper on ensembles, and of the papers behind the members."""
        return ("lakshminarayanan2017", *getattr(self.members, "references", ()))

    def sample(self, key: KeyArray) -> Variables:
        """A draw of one of the members, uniformly."""
        check_key("key", key)
        key_member, key_draw = jax.random.split(key)
        return self.member(jax.random.uniform(key_member)).sample(key_draw)

    def member(self, u: float | Scalar) -> Any:
        """Member ``⌊u · members⌋``, with u in [0, 1); evenly spaced u use all equally often."""
        return _slice(self.members, u)

    def mean(self) -> Params:
        """The mean of the members' means."""
        means = jax.vmap(lambda member: member.mean())(self.members)
        return jax.tree.map(lambda m: m.mean(0), means)

    def variance(self) -> Params:
        """``mean_m variance_m + variance_m mean_m``, the law of total variance."""
        means = jax.vmap(lambda member: member.mean())(self.members)
        variances = jax.vmap(lambda member: member.variance())(self.members)
        return jax.tree.map(lambda m, v: v.mean(0) + m.var(0), means, variances)


def check_place(u: float | Scalar) -> None:
    """Refuses a place u outside [0, 1)."""
    check_rate(u=u)


def _slice(stacked: Any, u: float | Scalar) -> Any:
    """Slice ``⌊u · n⌋`` of the leading axis, of length n, of every array of a tree."""
    check_place(u)
    n = jax.tree.leaves(stacked)[0].shape[0]
    # In float32 the product may round up to n.
    index = jnp.minimum(jnp.floor(jnp.asarray(u) * n).astype(int), n - 1)
    return jax.tree.map(lambda x: jnp.asarray(x)[index], stacked)
