"""Priors under which all weights are independent and identically distributed."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import stats
from jax.typing import ArrayLike

from jfractal.arguments import as_array, check_finite, check_number, check_positive, check_values
from jfractal.errors import InputError
from jfractal.posterior.gaussian import Gaussian as GaussianLeaf
from jfractal.priors.prior import Prior
from jfractal.typing import Array, KeyArray

__all__ = ["Cauchy", "Gaussian", "HorseshoeLike", "Laplace", "ScaleMixture", "StudentT"]

FAR = 40.0  # standard deviations, beyond which erf is 1 in any floating point


@dataclass(frozen=True)
class Gaussian(Prior):
    """``N(mean, scale²)``; its KL from a Gaussian leaf is exact.

    Attributes:
        scale: Standard deviation (not the variance), above 0 and finite; a number, or an array of
            the shape of the leaf.
        mean: Mean; a number, or an array of the shape of the leaf.
    """

    scale: ArrayLike = 1.0
    mean: ArrayLike = 0.0

    def __post_init__(self):
        above = lambda scale: (scale > 0) & np.isfinite(scale)
        check_values("scale", as_array("scale", self.scale), "above 0 and finite", above)
        check_finite("mean", as_array("mean", self.mean))

    def at(self, path: str, shape: tuple[int, ...]) -> "Gaussian":
        """This prior, if its parameters are numbers or have the shape of the leaf."""
        for name in ("scale", "mean"):
            if jnp.shape(getattr(self, name)) not in ((), shape):
                raise InputError(
                    f"`{name}` of a Gaussian prior must be a number or have the shape {shape} of "
                    f"the leaf '{path}', got shape {jnp.shape(getattr(self, name))}"
                )
        return self

    def log_prob(self, w: Array) -> Array:
        """Elementwise log density at `w`, in nats."""
        return stats.norm.logpdf(w, self.mean, self.scale)

    def kl(self, leaf: GaussianLeaf, key: KeyArray | None = None) -> Array:
        """``log(s₀/s) + (s² + (m − m₀)²) / 2s₀² − ½`` of every weight, in nats."""
        leaf = leaf.wide
        s = leaf.std / self.scale
        z = (leaf.mean - self.mean) / self.scale
        return 0.5 * (s**2 + z**2 - 1) + jnp.log(self.scale) - leaf.log_std


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
        check_number("between 0 and 1", lambda pi: (pi > 0) & (pi < 1), pi=self.pi)
        check_positive(scale1=self.scale1, scale2=self.scale2)

    def log_prob(self, w: Array) -> Array:
        """Elementwise log density at `w`, in nats.

        It is computed in log space: in probability space, the narrow component and its gradient
        underflow a few standard deviations out.
        """
        return jnp.logaddexp(
            jnp.log(self.pi) + stats.norm.logpdf(w, 0.0, self.scale1),
            jnp.log1p(-self.pi) + stats.norm.logpdf(w, 0.0, self.scale2),
        )


@dataclass(frozen=True)
class Laplace(Prior):
    """``exp(−|w| / scale) / (2 scale)``; its KL from a Gaussian leaf is exact.

    Attributes:
        scale: Mean of |w|, above 0; the standard deviation is √2 times as large.
    """

    scale: float = 1.0

    def __post_init__(self):
        check_positive(scale=self.scale)

    def log_prob(self, w: Array) -> Array:
        """Elementwise log density at `w`, in nats."""
        return stats.laplace.logpdf(w, 0.0, self.scale)

    def kl(self, leaf: GaussianLeaf, key: KeyArray | None = None) -> Array:
        """``log 2b − ½ log 2πe s² + E|w| / b`` of every weight, in nats.

        ``E|w| = s √(2/π) exp(−m²/2s²) + m erf(m / s√2)``, the mean of the folded normal.
        """
        leaf = leaf.wide
        m, s = leaf.mean, leaf.std
        # Where s underflows, and z with it has no bound, the mean of |w| is |m|.
        z = jnp.clip(m / jnp.maximum(s, jnp.sqrt(jnp.finfo(s.dtype).tiny)), -FAR, FAR)
        mean_abs = s * jnp.sqrt(2 / jnp.pi) * jnp.exp(-0.5 * z**2)
        mean_abs += m * jax.scipy.special.erf(z / jnp.sqrt(2))
        entropy = 0.5 * jnp.log(2 * jnp.pi * jnp.e) + leaf.log_std
        return jnp.log(2 * self.scale) - entropy + mean_abs / self.scale


@dataclass(frozen=True)
class StudentT(Prior):
    """Student's t: tails as heavy as ``|w|^−(df + 1)``.

    Attributes:
        df: Degrees of freedom, above 0; the variance is finite above 2.
        scale: Scale, above 0; the standard deviation for df → ∞.
    """

    df: float
    scale: float = 1.0

    def __post_init__(self):
        check_positive(df=self.df, scale=self.scale)

    def log_prob(self, w: Array) -> Array:
        """Elementwise log density at `w`, in nats."""
        return stats.t.logpdf(w, self.df, 0.0, self.scale)


@dataclass(frozen=True)
class Cauchy(Prior):
    """``1 / (π scale (1 + w²/scale²))``: Student's t with one degree of freedom.

    Attributes:
        scale: Median of |w|, above 0.
    """

    scale: float = 1.0

    def __post_init__(self):
        check_positive(scale=self.scale)

    def log_prob(self, w: Array) -> Array:
        """Elementwise log density at `w`, in nats."""
        return stats.cauchy.logpdf(w, 0.0, self.scale)


@dataclass(frozen=True)
class HorseshoeLike(Prior):
    """``log(1 + scale²/w²) / (2π scale)``: a pole at zero, and Cauchy's tails.

    It shrinks weights as the horseshoe does, but its density has a closed form.

    Attributes:
        scale: Global scale τ, above 0.

    Source: Bhadra, Datta, Polson & Willard, "The horseshoe-like regularization for feature subset
        selection", Sankhya B 2021.
    """

    scale: float = 1.0

    def __post_init__(self):
        check_positive(scale=self.scale)

    def log_prob(self, w: Array) -> Array:
        """Elementwise log density at `w`, in nats; 0 counts as the smallest normal number."""
        size = jnp.maximum(jnp.abs(w), jnp.finfo(w.dtype).tiny)
        # log(1 + τ²/w²) without squares, which under- and overflow.
        ratio = jax.nn.softplus(2 * (jnp.log(self.scale) - jnp.log(size)))
        return jnp.log(ratio) - jnp.log(2 * jnp.pi * self.scale)


@dataclass(frozen=True)
class Flat(Prior):
    """No preference: a density of 1 everywhere, which is improper.

    Under this prior, maximum a posteriori is maximum likelihood. There is no KL to it.
    """

    def log_prob(self, w: Array) -> Array:
        """Zeros."""
        return jnp.zeros_like(w)

    def kl(self, leaf: GaussianLeaf, key: KeyArray | None = None) -> Array:
        """Raises an error, because there is no KL to a density that does not integrate to 1.

        Raises:
            InputError: Always.
        """
        raise InputError("Flat is improper: give variational inference a prior with a scale")
