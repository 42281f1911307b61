"""A scale for each weight: given, or found from the gradients of a warm-up."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfractal.arguments import check_values
from jfractal.errors import InputError
from jfractal.posterior.gaussian import check_weights
from jfractal.typing import Array, Params

__all__ = ["check_mass", "check_variances", "mean_square", "wide_ones"]

RECENT = 4  # the mean is over about this fraction of the steps so far


def mean_square(
    mean: Params,
    gradient: Params,
    step: Array,
    *,
    num_data: int,
    temperature: float,
    inverse_mass: Params | None,
) -> Params:
    """Updates ``v ≈ E[Ĝ²]`` of each weight, a mean over the last quarter of all steps.

    Ĝ is the gradient of the log joint in nats, estimated on a batch. Along a chain that samples the
    posterior at temperature T, ``v = T H + C``: H is the curvature of the negative log joint, and C
    the variance of the gradient due to batches. If the gradient is pure noise, v is C.

    Args:
        mean: v so far; ignored at step 0.
        gradient: Gradient of the negative log joint, in nats per example.
        step: Number of steps taken so far.
        num_data: Number N of examples in the data set.
        temperature: T.
        inverse_mass: Initial variances of the weights. By default, 1 / N for every weight.
    """
    share = RECENT / (step + RECENT + 1)
    if inverse_mass is None:
        first = jax.tree.map(lambda v: jnp.full_like(v, num_data * temperature), mean)
    else:
        first = jax.tree.map(lambda v, m: (temperature / m).astype(v.dtype), mean, inverse_mass)

    def after(v: Array, first: Array, g: Array) -> Array:
        v = jnp.where(step == 0, first, v)
        return (v + share * ((num_data * g.astype(v.dtype)) ** 2 - v)).astype(v.dtype)

    return jax.tree.map(after, mean, first, gradient)


def wide_ones(weights: Params) -> Params:
    """Ones in single precision or better: in half precision, running means would stop changing."""
    return jax.tree.map(
        lambda w: jnp.ones(w.shape, jnp.promote_types(w.dtype, jnp.float32)), weights
    )


def check_mass(given: Params, expected: Any) -> None:
    """Refuses anything but a tree of variances for weights of these shapes.

    Args:
        given: The tree to check.
        expected: Shapes of the weights, a tree of tuples.

    Raises:
        InputError: If structures or shapes differ, or a leaf is not a floating-point array.
    """
    shapes = jax.tree.map(lambda x: getattr(x, "shape", None), given)
    if shapes != expected:
        raise InputError(
            "`inverse_mass` must be a tree of variances of the same structure and shapes as the "
            f"weights {expected}, got {shapes}"
        )
    check_weights(given, "inverse_mass")


def check_variances(leaves: Any) -> None:
    """Refuses variances that are not finite and above 0.

    Raises:
        InputError: If a variance is not.
    """
    for v in leaves:
        check_values(
            "inverse_mass", v, "finite variances above 0", lambda v: np.isfinite(v) & (v > 0)
        )
