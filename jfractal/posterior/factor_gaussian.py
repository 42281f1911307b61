"""A Gaussian with correlated weights, across all leaves."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jfractal import ops
from jfractal.arguments import check_key
from jfractal.posterior.leaves import replace, select
from jfractal.posterior.posterior import Posterior
from jfractal.storage import storable
from jfractal.typing import KeyArray, Params, Variables

__all__ = ["FactorGaussian"]


@storable
@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class FactorGaussian(Posterior):
    """``w = params + std · ε + Σ_k z_k factor_k``, with ε and z standard normal.

    The covariance is ``diag(std²) + Σ_k factor_k factor_kᵀ``: a diagonal plus a matrix of low rank
    (SWAG), or a full matrix, if std = 0 and there are as many factors as weights (Laplace).

    Attributes:
        params: The tree of mean weights.
        std: Standard deviations of the independent part, by path, each of the shape of its leaf.
        factors: Factors of the shared part, by path, each with a leading axis "rank". All leaves
            without factors are fixed.
        variables: Other collections that `apply` needs, e.g. ``{"batch_stats": ...}``.
    """

    # `Any`, for JAX rebuilds trees with shapes and other stand-ins where arrays were.
    params: Params
    std: Any
    factors: Any
    variables: Variables = field(default_factory=dict)

    @property
    def references(self) -> tuple[str, ...]:
        """The BibTeX key of the paper on SWAG."""
        return ("maddox2019",)

    def sample(self, key: KeyArray) -> Variables:
        """One draw of all weights, of the shapes and dtypes of `params`."""
        check_key("key", key)
        key_own, key_shared = jax.random.split(key)
        flat, unravel = ravel_pytree(self.std)
        own = unravel(ops.normal(key_own, flat.shape, flat.dtype))
        rank = jax.tree.leaves(self.factors)[0].shape[0]
        shared = ops.normal(key_shared, (rank,), flat.dtype)
        centre = select(self.params, lambda path, _: path in self.factors)
        draw = jax.tree.map(
            lambda m, s, e, f: (m + s * e + jnp.tensordot(shared, f, 1)).astype(m.dtype),
            centre,
            self.std,
            own,
            self.factors,
        )
        return {"params": replace(self.params, draw), **self.variables}

    def mean(self) -> Params:
        """The mean weights."""
        return self.params

    def variance(self) -> Params:
        """``std² + Σ_k factor_k²``, the diagonal of the covariance; 0 for fixed leaves."""
        zeros = jax.tree.map(jnp.zeros_like, self.params)
        diagonal = jax.tree.map(lambda s, f: s**2 + (f**2).sum(0), self.std, self.factors)
        return replace(zeros, diagonal)
