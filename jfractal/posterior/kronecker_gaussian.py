"""A Gaussian whose precision within a leaf is nearly a Kronecker product."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from jfractal.arguments import check_key
from jfractal.posterior.leaves import replace, select
from jfractal.posterior.noise import normal_like
from jfractal.posterior.posterior import Posterior
from jfractal.storage import storable
from jfractal.typing import Array, Float, KeyArray, Params, Variables

__all__ = ["KroneckerGaussian", "as_matrix"]


def as_matrix(leaf: Array) -> Float[Array, "inputs outputs"]:
    """A leaf as a matrix: the last axis is that of the outputs, and a vector becomes one row."""
    return leaf.reshape(-1, leaf.shape[-1] if leaf.ndim else 1)


@storable
@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class KroneckerGaussian(Posterior):
    """``w = params + U (std ∘ E) Vᵀ`` for each leaf as a matrix, with E standard normal.

    The precision is ``(U ⊗ V) diag(std⁻²) (U ⊗ V)ᵀ`` with orthogonal U and V. A Kronecker product
    ``A ⊗ B`` plus a multiple of the identity has this form: U holds the eigenvectors of A, and V
    those of B. Different leaves are independent.

    Attributes:
        params: The tree of mean weights.
        inputs: U by path, "inputs inputs". The inputs are all axes of a leaf but the last.
        outputs: V by path, "outputs outputs".
        std: Standard deviations along these eigenvectors, by path, "inputs outputs". All leaves
            without one are fixed.
        variables: Other collections that `apply` needs, e.g. ``{"batch_stats": ...}``.
    """

    # `Any`, for JAX rebuilds trees with shapes and other stand-ins where arrays were.
    params: Params
    inputs: Any
    outputs: Any
    std: Any
    variables: Variables = field(default_factory=dict)

    def sample(self, key: KeyArray) -> Variables:
        """One draw of all weights, of the shapes and dtypes of `params`."""
        check_key("key", key)
        centre, noise = self._centre(), normal_like(key, self.std)
        draw = {}
        for path, m in centre.items():
            step = self.inputs[path] @ (self.std[path] * noise[path]) @ self.outputs[path].T
            draw[path] = m + step.reshape(m.shape).astype(m.dtype)
        return {"params": replace(self.params, draw), **self.variables}

    def mean(self) -> Params:
        """The mean weights."""
        return self.params

    def variance(self) -> Params:
        """``U² std² (V²)ᵀ`` with elementwise squares; 0 for fixed leaves."""
        zeros = jax.tree.map(jnp.zeros_like, self.params)
        diagonal = {}
        for path, m in self._centre().items():
            squares = self.inputs[path] ** 2 @ self.std[path] ** 2 @ self.outputs[path].T ** 2
            diagonal[path] = squares.reshape(m.shape).astype(m.dtype)
        return replace(zeros, diagonal)

    def _centre(self) -> dict[str, Any]:
        return select(self.params, lambda path, _: path in self.std)
