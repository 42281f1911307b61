"""A Gaussian target with a given dimension and condition number."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jfractal.arguments import check_key, check_number, check_type
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.batch import Batch
from jfractal.inference.model import Model
from jfractal.likelihoods import Gaussian as GaussianLikelihood
from jfractal.priors import Gaussian as GaussianPrior
from jfractal.testing.moments import Moments
from jfractal.typing import Array, Float, KeyArray, Params, Variables

__all__ = ["GaussianTarget"]

MOST_WEIGHTS = 10_000  # whose covariance can be held


@dataclass(frozen=True, eq=False)
class GaussianTarget:
    """``log p(D, w) = −½ (w − m)ᵀ Σ⁻¹ (w − m) + const``, over a tree of weights.

    The tree is ``{"hidden": {"kernel": (⌊d/2⌋, 1)}, "output": {"bias": (d − ⌊d/2⌋,)}}``. The target
    is a model with data, so that methods get a prior and a likelihood. The prior is ``N(0, 2/λ)``,
    where λ is the least eigenvalue of Σ⁻¹. The rest is the likelihood of a linear regression with
    one example per weight.

    Attributes:
        exact: Mean m and covariance Σ.
    """

    exact: Moments

    def __post_init__(self):
        check_type("exact", self.exact, Moments, "the Moments of the target")
        if len(self.exact.mean) < 2:
            raise InputError(
                f"`exact` must have a mean of at least 2 weights, got {len(self.exact.mean)}"
            )
        if np.linalg.eigvalsh(self.exact.covariance)[0] <= 0:
            raise InputError("the covariance of `exact` must be positive definite")

    @classmethod
    def random(
        cls, key: KeyArray, *, dimension: int = 6, condition: float = 10.0
    ) -> "GaussianTarget":
        """A target with random axes, whose variances go from 1 down to 1 / condition.

        Args:
            key: Random key.
            dimension: Number of weights, at least 2.
            condition: Ratio of the largest to the smallest variance, at least 1, and at most about
                1e5 in float32.

        Raises:
            InputError: If a number is out of range.
        """
        check_key("key", key)
        check_counts(2, MOST_WEIGHTS, dimension=dimension)
        check_number("from 1 to 1e6", lambda x: (x >= 1) & (x <= 1e6), condition=condition)
        key_mean, key_axes = jax.random.split(key)
        mean = np.asarray(jax.random.normal(key_mean, (dimension,)), np.float64)
        normals = np.asarray(jax.random.normal(key_axes, (dimension, dimension)), np.float64)
        axes, _ = np.linalg.qr(normals)
        variances = np.geomspace(1.0, 1 / condition, dimension)
        return cls(Moments(mean, (axes * variances) @ axes.T))

    @property
    def model(self) -> Model:
        """The model that a method is given."""
        prior = GaussianPrior(float(1 / np.sqrt(self._spectrum[0][0] / 2)))
        return Model(_apply, prior=prior, likelihood=GaussianLikelihood(1.0))

    @property
    def data(self) -> Batch:
        """Inputs and targets, ``(x, y)``."""
        values, axes = self._spectrum
        # x = xᵀ with x² + (λ/2) I = Σ⁻¹, and x y = Σ⁻¹ m.
        roots = np.sqrt(values - values[0] / 2)
        x = (axes * roots) @ axes.T
        y = (axes * (values / roots)) @ axes.T @ self.exact.mean
        return jnp.asarray(x, jnp.float32), jnp.asarray(y[:, None], jnp.float32)

    @property
    def _spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues of Σ⁻¹, the least first, and its eigenvectors."""
        return np.linalg.eigh(np.linalg.inv(self.exact.covariance))

    def start(self, key: KeyArray) -> Params:
        """Standard normal weights, away from the posterior."""
        dimension = len(self.exact.mean)
        w = jax.random.normal(key, (dimension,))
        half = dimension // 2
        return {"hidden": {"kernel": w[:half, None]}, "output": {"bias": w[half:]}}


def _apply(variables: Variables, x: Float[Array, "examples weights"]) -> Float[Array, "examples 1"]:
    return x @ ravel_pytree(variables["params"])[0][:, None]
