"""Toy regression curves."""

import jax
import jax.numpy as jnp
import numpy as np

from jfractal.arguments import check_key, check_number
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.typing import Array, Float, KeyArray

__all__ = ["blundell_curve"]

NOISE_SCALE = 0.02


def blundell_curve(
    key: KeyArray, num_points: int, *, low: float = 0.0, high: float = 0.5
) -> tuple[Float[Array, "n 1"], Float[Array, "n 1"]]:
    r"""The regression curve of Bayes by Backprop, noisy in x as well as in y.

    $$y = x + 0.3 \sin 2\pi(x + \epsilon) + 0.3 \sin 4\pi(x + \epsilon) + \epsilon$$

    with $\epsilon \sim N(0, 0.02)$. The paper does not say whether 0.02 is the variance or the
    standard deviation; here it is the **standard deviation**.

    Args:
        key: Random key of the inputs and of the noise.
        num_points: n, the number of points.
        low: Lower end of the inputs.
        high: Upper end of the inputs, which are uniform in [low, high).

    Returns:
        Inputs x and targets y, both of shape (n, 1).

    Raises:
        InputError: If `num_points` is below 1, or `high` is not above `low`.

    References:
        Blundell et al., Weight Uncertainty in Neural Networks, ICML 2015, section 5.2.
    """
    check_key("key", key)
    check_counts(num_points=num_points)
    check_number("finite", np.isfinite, low=low, high=high)
    if not low < high:
        raise InputError(f"`high` must be above `low`, {low}, got {high}")
    input_key, noise_key = jax.random.split(key)
    x = jax.random.uniform(input_key, (num_points, 1), minval=low, maxval=high)
    noise = NOISE_SCALE * jax.random.normal(noise_key, x.shape)
    shifted = x + noise
    waves = jnp.sin(2 * jnp.pi * shifted) + jnp.sin(4 * jnp.pi * shifted)
    return x, x + 0.3 * waves + noise
