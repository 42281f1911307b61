"""Drop-path as a posterior: a fractal net is an ensemble of its sub-networks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from itertools import product
from math import prod

import flax.linen as nn
import jax
import jax.numpy as jnp

from jfractal import topology
from jfractal.arguments import check_key, check_rate, check_type
from jfractal.errors import InputError
from jfractal.nn.block_net import BlockNet
from jfractal.nn.joins import draw_alive
from jfractal.posterior.posterior import Posterior, check_posterior
from jfractal.storage import storable
from jfractal.typing import Apply, Array, Bool, KeyArray, Params, Variables

__all__ = ["SubNetworks", "all_sub_networks", "sub_networks"]

Alive = dict[str, dict[str, Bool[Array, " inputs"]]]
"""Which inputs of each join are alive, by block and join: the collection ``drop_path``."""


@storable
@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class SubNetworks(Posterior):
    """Draws from another posterior, each with join inputs dropped at random.

    Attributes:
        posterior: The posterior that weights are drawn from.
        rate: Probability of dropping a join input.
        joins: Number of inputs of each join, by block.
        within: Names of the modules that contain the net of blocks, as in a `TextNet`.
    """

    posterior: Posterior
    rate: float
    joins: tuple[tuple[int, ...], ...] = field(metadata={"static": True})
    within: tuple[str, ...] = field(default=(), metadata={"static": True})

    @property
    def references(self) -> tuple[str, ...]:
        """BibTeX keys of the papers on drop-path, on dropout as a posterior, and on `posterior`."""
        return ("larsson2017", "gal2016", *getattr(self.posterior, "references", ()))

    def sample(self, key: KeyArray) -> Variables:
        """One draw of the weights and of the join inputs that are alive."""
        check_key("key", key)
        key_weights, key_path = jax.random.split(key)
        keys = iter(jax.random.split(key_path, sum(map(len, self.joins))))
        alive = [[draw_alive(next(keys), k, self.rate) for k in sizes] for sizes in self.joins]
        masks = reduce(lambda inner, name: {name: inner}, reversed(self.within), _named(alive))
        return {**self.posterior.sample(key_weights), "drop_path": masks}

    def mean(self) -> Params:
        """The mean of every weight under `posterior`, ignoring drop-path."""
        return self.posterior.mean()

    def variance(self) -> Params:
        """The variance of every weight under `posterior`, ignoring drop-path."""
        return self.posterior.variance()

    def predictive(self, apply: Apply) -> Apply:
        """The function to run under draws, as `posterior` has it."""
        own = getattr(self.posterior, "predictive", None)
        return apply if own is None else own(apply)


def sub_networks(net: nn.Module, posterior: Posterior, *, rate: float = 0.15) -> SubNetworks:
    """Drop-path Monte Carlo: prediction averages over sub-networks as training did.

    ``p(y | x) = E_alive[p(y | x, w, alive)]``. Each join input is dropped with probability `rate`,
    but never all inputs of a join (see `draw_alive`). A batch norm uses the statistics of the whole
    net.

    Args:
        net: A net of blocks, or a net around one, such as `TextNet` and `LearnedNoise`.
        posterior: The posterior that weights are drawn from: a `Point`, a `MeanField`, ….
        rate: Probability of dropping a join input, in [0, 1).

    Returns:
        A posterior like any other, for `predict`.

    Raises:
        InputError: If `rate` is out of range, `net` has no blocks, or `posterior` cannot be drawn
            from.

    Source: Larsson et al., ICLR 2017, §3 (drop-path). It is kept at test time as Gal & Ghahramani,
        "Dropout as a Bayesian approximation", ICML 2016, keep dropout.
    """
    check_posterior(posterior)
    check_rate(rate=rate)
    within = []
    while not isinstance(net, BlockNet):
        if not isinstance(inner := getattr(net, "net", None), nn.Module):
            raise InputError(f"`net` must be a net of blocks, got a {type(net).__name__}")
        net = inner
        within.append("net")
    return SubNetworks(posterior, rate, tuple(map(topology.join_sizes, net.blocks)), tuple(within))


def all_sub_networks(net: BlockNet, *, rate: float = 0.15) -> Iterator[tuple[float, Alive]]:
    """Every sub-network that local drop-path can draw, with its probability.

    There are ``Π_joins (2^k − 1)`` of them over joins of k inputs, so use it for small nets only.

    Args:
        net: The net.
        rate: Probability of dropping a join input.

    Yields:
        The probability, and the collection ``drop_path`` to give to ``net.apply``.

    Raises:
        InputError: If `rate` is out of range.
    """
    check_rate(rate=rate)
    check_type("net", net, BlockNet, "a net of blocks")
    joins = tuple(map(topology.join_sizes, net.blocks))
    sizes = [k for block in joins for k in block]
    for masks in product(*(_masks(k) for k in sizes)):
        flat = iter(masks)
        alive = [[jnp.array(next(flat)) for _ in block] for block in joins]
        yield prod(_probability(mask, rate) for mask in masks), _named(alive)


def _masks(num_inputs: int) -> list[tuple[bool, ...]]:
    return [mask for mask in product([True, False], repeat=num_inputs) if any(mask)]


def _probability(mask: tuple[bool, ...], rate: float) -> float:
    """Probability of a mask under `draw_alive`; a lone survivor may also have been revived."""
    alive, k = sum(mask), len(mask)
    revived = rate**k / k if alive == 1 else 0.0
    return (1 - rate) ** alive * rate ** (k - alive) + revived


def _named(alive: list[list[Array]]) -> Alive:
    return {
        f"block{i}": {f"join{j}": mask for j, mask in enumerate(masks, start=1)}
        for i, masks in enumerate(alive, start=1)
        if masks
    }
