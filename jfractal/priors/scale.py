"""Gaussian priors of unknown scale: one scale for each leaf, integrated out or fitted."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jfractal.arguments import check_positive
from jfractal.errors import InputError
from jfractal.posterior.gaussian import Gaussian
from jfractal.priors.prior import Prior
from jfractal.typing import Array, KeyArray, Scalar

__all__ = ["EmpiricalBayes", "HierarchicalScale"]


@dataclass(frozen=True)
class HierarchicalScale(Prior):
    """One unknown variance for all n weights of a leaf, integrated out.

    ``w | v ~ N(0, v I)`` and ``v ~ InverseGamma(a, b)`` give the multivariate Student-t
    ``p(w) = Γ(a + n/2) / Γ(a) · (2πb)^−n/2 · (1 + |w|²/2b)^−(a + n/2)``. A single weight is
    Student-t with 2a degrees of freedom and scale √(b/a). Large leaves determine their own scale.

    Attributes:
        concentration: a, above 0.
        rate: b, above 0, in squared units of the weights; ``v`` has its mode at b / (a + 1).

    Source: Gelman et al., "Bayesian data analysis", 3rd ed., ch. 3.
    """

    concentration: float
    rate: float

    def __post_init__(self):
        check_positive(concentration=self.concentration, rate=self.rate)

    def log_prob(self, w: Array) -> Scalar:
        """Log density of the whole leaf, in nats; its weights are not independent."""
        a, b = self.concentration, self.rate
        w = w.astype(jnp.promote_types(w.dtype, jnp.float32))
        half = w.size / 2
        constant = math.lgamma(a + half) - math.lgamma(a) - half * math.log(2 * math.pi * b)
        return constant - (a + half) * jnp.log1p(jnp.sum(w**2) / (2 * b))


@dataclass(frozen=True)
class EmpiricalBayes(Prior):
    """``N(0, v)`` with the variance v fitted to each leaf of a variational posterior.

    ``v = mean(m² + s²)`` over the leaf minimises the KL. Because it is fitted to a posterior, it
    cannot be used with MAP or HMC; use `HierarchicalScale` there.

    Source: Titsias & Lázaro-Gredilla, "Doubly stochastic variational Bayes for non-conjugate
        inference", ICML 2014. Their closed form has one variance per weight, this one per leaf.
    """

    def log_prob(self, w: Array) -> Array:
        """Raises an error, because there is no posterior to fit to.

        Raises:
            InputError: Always.
        """
        raise InputError(
            "EmpiricalBayes has no density, as it is fitted to a variational posterior: use it "
            "in `elbo`, and HierarchicalScale with MAP and HMC"
        )

    def kl(self, leaf: Gaussian, key: KeyArray | None = None) -> Array:
        """``½ log v − log s`` of every weight, whose sum is ``min_v KL(q ‖ N(0, v))``, in nats."""
        leaf = leaf.wide
        # In log space: the squares of small weights underflow.
        is_small = jnp.abs(leaf.mean) < jnp.sqrt(jnp.finfo(leaf.mean.dtype).tiny)
        log_m = jnp.where(is_small, -jnp.inf, jnp.log(jnp.abs(jnp.where(is_small, 1, leaf.mean))))
        squares = 2 * jnp.concatenate([log_m.ravel(), leaf.log_std.ravel()])
        log_variance = jax.nn.logsumexp(squares) - jnp.log(leaf.mean.size)
        return 0.5 * log_variance - leaf.log_std
