"""Priors over weights, independent over the entries of an array."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jfractal.errors import InputError
from jfractal.posterior.gaussian import Gaussian as GaussianLeaf
from jfractal.typing import Array, KeyArray, Params, Scalar

__all__ = ["Gaussian", "Prior", "ScaleMixture"]


class Prior:
    """A distribution over weights; a subclass gives `log_prob`, and `kl` where it is exact."""

    def log_prob(self, w: Array) -> Array:
        """Elementwise log density at `w`, in nats."""
        raise NotImplementedError

    def tree_log_prob(self, params: Params) -> Scalar:
        """Log density of a tree of arrays, in nats, summed over all weights."""
        return sum((self.log_prob(w).sum() for w in jax.tree.leaves(params)), start=jnp.zeros(()))

    def kl(self, leaf: GaussianLeaf, key: KeyArray | None) -> Scalar:
        """KL(leaf ‖ self) in nats, summed: ``log q(w) − log p(w)`` at one draw ``w ~ q``."""
        if key is None:
            raise InputError(f"the KL to {self!r} has no closed form: `key` must be given")
        w = leaf.sample(key)
        return (leaf.log_prob(w) - self.log_prob(w)).sum()


@dataclass(frozen=True)
class Gaussian(Prior):
    """``N(mean, scale²)``; its KL from a Gaussian leaf is exact.

    Attributes:
        scale: Standard deviation (not the variance), above 0.
        mean: Mean.
    """

    scale: float = 1.0
    mean: float = 0.0

    def __post_init__(self):
        if not self.scale > 0:
            raise InputError(f"`scale` must be above 0, got {self.scale}")

    def log_prob(self, w: Array) -> Array:
        """Elementwise log density at `w`, in nats."""
        return jax.scipy.stats.norm.logpdf(w, self.mean, self.scale)

    def kl(self, leaf: GaussianLeaf, key: KeyArray | None = None) -> Scalar:
        """``Σ log(s₀/s) + (s² + (m − m₀)²) / 2s₀² − ½``, in nats."""
        s = leaf.std / self.scale
        z = (leaf.mean - self.mean) / self.scale
        return (0.5 * (s**2 + z**2 - 1) - jnp.log(s)).sum()


@dataclass(frozen=True)
class ScaleMixture(Prior):
    """``π N(0, scale1²) + (1 − π) N(0, scale2²)``: a few large weights, many near zero.

    Attributes:
        pi: Weight of the first component, between 0 and 1.
        scale1: Standard deviation of the first, wide component.
        scale2: Standard deviation of the second, narrow component.

    Source: Blundell et al., ICML 2015, eq. 7.
    """

    pi: float = 0.5
    scale1: float = 1.0
    scale2: float = 0.0025

    def __post_init__(self):
        if not 0 < self.pi < 1:
            raise InputError(f"`pi` must be between 0 and 1, got {self.pi}")
        if not (self.scale1 > 0 and self.scale2 > 0):
            raise InputError(
                f"`scale1` and `scale2` must be above 0, got {self.scale1} and {self.scale2}"
            )

    def log_prob(self, w: Array) -> Array:
        """Elementwise log density at `w`, in nats.

        In log space throughout: in probability space the narrow component underflows a few
        standard deviations out, and with it the gradient.
        """
        return jnp.logaddexp(
            jnp.log(self.pi) + jax.scipy.stats.norm.logpdf(w, 0.0, self.scale1),
            jnp.log1p(-self.pi) + jax.scipy.stats.norm.logpdf(w, 0.0, self.scale2),
        )
