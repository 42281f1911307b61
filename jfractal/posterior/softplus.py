"""Softplus, its log and its inverse, for standard deviations.

Their derivatives end in a division. XLA recomputes cheap operations for every reader of their
result, and the gradient of a weight has three readers: the two moments of Adam, and the step. XLA
computes a division only once, together with everything that it divides.
"""

import jax
import jax.numpy as jnp

from jfractal.typing import Array, Float

__all__ = ["inverse_softplus", "log_softplus", "softplus"]

FAR = -15.0  # below it softplus(ρ) is e^ρ, in single precision
FARTHEST = -60.0  # below it the derivative is 0: so it must be where a weight is pruned, ρ = −∞


@jax.custom_jvp
def softplus(rho: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``log(1 + e^ρ) = max(ρ, 0) + 2 artanh(u / (2 + u))`` with ``u = e^−|ρ|``.

    The argument of artanh is at most ⅓, so its series is short: on CPU this takes a third of the
    time of a logarithm.
    """
    u = jnp.exp(-jnp.abs(rho))
    square = (u / (2 + u)) ** 2
    last = 16 if rho.dtype == jnp.float64 else 7  # 9^−last / (2 last + 1) is below half a unit
    series = jnp.full_like(u, 1 / (2 * last + 1))
    for k in reversed(range(last)):
        series = series * square + 1 / (2 * k + 1)  # 1 + x²/3 + x⁴/5 + ...
    return jnp.maximum(rho, 0) + u * (2 / (2 + u)) * series


@softplus.defjvp
def _softplus_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (rho,), (tangent,) = primals, tangents
    wide = _wide(rho)
    inverse = 1 + jnp.exp(-jnp.maximum(wide, FARTHEST))
    inverse = jnp.where(wide < FARTHEST, jnp.inf, inverse)
    return softplus(rho), (tangent / inverse).astype(rho.dtype)


@jax.custom_jvp
def log_softplus(rho: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``log log(1 + e^ρ)``, which is ρ far below 0, where softplus underflows."""
    std = jnp.where(rho < FAR, 1, softplus(rho))  # this softplus is also that of the other readers
    return jnp.where(rho < FAR, rho, jnp.log(std))


@log_softplus.defjvp
def _log_softplus_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (rho,), (tangent,) = primals, tangents
    wide = _wide(rho)
    inverse = softplus(wide) * (1 + jnp.exp(-jnp.maximum(wide, FAR - 1)))
    inverse = jnp.where(wide < FAR, 1, inverse)
    return log_softplus(rho), (tangent / inverse).astype(rho.dtype)


def inverse_softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The rho whose softplus is `x`: ``x + log(1 − e^{−x})``, accurate for small and large x."""
    return x + jnp.log(-jnp.expm1(-x))


def _wide(x: Array) -> Array:
    """In float32 or wider, where e^15 is finite."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
