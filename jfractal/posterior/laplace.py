"""Laplace's approximation as a posterior: a Gaussian, and the linearized net that predicts."""

from dataclasses import dataclass, field
from typing import Any

import jax

from jfractal.posterior.linear import linearize
from jfractal.posterior.posterior import Posterior
from jfractal.storage import storable
from jfractal.typing import Apply, KeyArray, Params, Variables

__all__ = ["Laplace"]


@storable
@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Laplace(Posterior):
    """A Gaussian around trained weights; the net linearized at these weights makes predictions.

    Attributes:
        gaussian: The Gaussian: a `FactorGaussian`, a `MeanField` or a `KroneckerGaussian`.
        log_marginal_likelihood: ``log p(D)`` of the linearized net, in nats, summed over the data
            and given the fixed weights. A higher value means a better prior and net.
        paths: Paths of the uncertain leaves.
    """

    # `Any`, for JAX rebuilds trees with shapes and other stand-ins where arrays were.
    gaussian: Any
    log_marginal_likelihood: Any
    paths: tuple[str, ...] = field(metadata={"static": True})

    @property
    def references(self) -> tuple[str, ...]:
        """BibTeX keys of the papers on the approximation and its marginal likelihood."""
        return ("mackay1992", "daxberger2021", "immer2021")

    def sample(self, key: KeyArray) -> Variables:
        """One draw from the Gaussian."""
        return self.gaussian.sample(key)

    def mean(self) -> Params:
        """The trained weights."""
        return self.gaussian.mean()

    def variance(self) -> Params:
        """The variance of every weight; 0 for fixed leaves."""
        return self.gaussian.variance()

    def predictive(self, apply: Apply) -> Apply:
        """The net linearized in the uncertain weights at their mean, see `linearize`.

        If the net is linear in these weights, as in those of its last layer, this is the net
        itself.
        """
        return linearize(apply, self.mean(), lambda path, _: path in self.paths)
