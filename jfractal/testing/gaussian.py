"""A Gaussian target of chosen dimension and condition number."""

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

    The tree is ``{"hidden": {"kernel": (⌊d/2⌋, 1)}, "output": {"bias": (d − ⌊d/2⌋,)}}``. It is
    a model with data, so that methods find prior and likelihood: with λ the least eigenvalue of
    Σ⁻¹, ``N(0, 2/λ)`` is the prior, and a linear regression on as many examples as weights the
    rest.

    Attributes:
        exact: m and Σ.
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
        """Axes that point anywhere, with variances from 1 down to 1 / condition.

        Args:
            key: Random key.
            dimension: Number of weights, at least 2.
            condition: Largest variance over smallest, at least 1; up to about 1e5 in float32.

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
        """What a method is given."""
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
        """Eigenvalues of Σ⁻¹, the least first, and its axes."""
        return np.linalg.eigh(np.linalg.inv(self.exact.covariance))

    def start(self, key: KeyArray) -> Params:
        """Standard normal weights, beside the posterior."""
        dimension = len(self.exact.mean)
        w = jax.random.normal(key, (dimension,))
        half = dimension // 2
        return {"hidden": {"kernel": w[:half, None]}, "output": {"bias": w[half:]}}


def _apply(variables: Variables, x: Float[Array, "examples weights"]) -> Float[Array, "examples 1"]:
    return x @ ravel_pytree(variables["params"])[0][:, None]
