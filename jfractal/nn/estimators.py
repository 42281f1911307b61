"""Estimators: unbiased draws of ``linear(x, w)`` with ``w ~ N(mean, std²)``.

They differ in what examples share, hence in how the noise of a gradient falls with the batch. All
take any function that is linear in `w` (`local_reparam` and `flipout`: and in `x`). The first axis
of `x` counts the examples, the last the features; a vector is one example.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jfractal import ops
from jfractal.errors import InputError
from jfractal.posterior.gaussian import Estimator, Gaussian
from jfractal.typing import Array, KeyArray

__all__ = ["antithetic", "draw", "flipout", "local_reparam", "per_example", "reparam"]

Linear = Callable[[Array, Array], Array]


def reparam(linear: Linear, x: Array, w: Gaussian, key: KeyArray) -> Array:
    """One draw of the weights for the whole batch: ``linear(x, mean + std·ε)``.

    Source: Blundell et al., ICML 2015, §3.2; Kingma & Welling, ICLR 2014.
    """
    return linear(x, w.sample(key))


def local_reparam(linear: Linear, x: Array, w: Gaussian, key: KeyArray) -> Array:
    """Draws outputs in place of weights: ``N(linear(x, mean), linear(x², std²))``.

    Exact in the margin of every output; the outputs of a convolution at different pixels, which
    share weights, are drawn as if independent. Less variance in the gradient, at two passes.

    Source: Kingma, Salimans & Welling, NeurIPS 2015, eq. 6.
    """
    centre = linear(x, w.mean)
    noise = ops.normal(key, centre.shape, centre.dtype)
    return centre + _scaled(linear(x**2, w.std**2), noise)


@jax.custom_jvp
def _scaled(variance: Array, noise: Array) -> Array:
    """``√variance · noise``, of whose gradient XLA does not draw the noise a second time."""
    return jnp.sqrt(jnp.maximum(variance, 0)) * noise


@_scaled.defjvp
def _scaled_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    variance, noise = primals
    y = _scaled(variance, noise)
    # Where the input is all zero the variance is, and the root has no gradient there.
    is_positive = variance > 0
    slope = jnp.where(is_positive, y / jnp.where(is_positive, 2 * variance, 1), 0)
    return y, slope * tangents[0]  # nobody asks for a derivative by the noise


def flipout(linear: Linear, x: Array, w: Gaussian, key: KeyArray) -> Array:
    """A pseudo-independent draw of the weights for each example.

    ``linear(x, mean) + s ∘ linear(r ∘ x, std·ε)`` with one ε for the batch and random signs r, s
    for each example and channel.

    Source: Wen et al., "Flipout", ICLR 2018, eq. 4.
    """
    key_noise, key_in, key_out = jax.random.split(key, 3)
    centre = linear(x, w.mean)
    noise = w.std * ops.normal(key_noise, w.mean.shape, w.mean.dtype)

    def signs(key: KeyArray, like: Array) -> Array:
        shape = [n if axis in (0, like.ndim - 1) else 1 for axis, n in enumerate(like.shape)]
        return jax.random.rademacher(key, shape, like.dtype)

    return centre + signs(key_out, centre) * linear(x * signs(key_in, x), noise)


def antithetic(linear: Linear, x: Array, w: Gaussian, key: KeyArray) -> Array:
    """Two opposite draws: the first half of the batch sees ``mean + std·ε``, the other −ε.

    One pass of cost. What is odd in ε cancels between the halves, as far as they are alike.

    Raises:
        InputError: If the batch is odd.

    Source: Hammersley & Morton, "A new Monte Carlo technique: antithetic variates", 1956.
    """
    num_examples = 1 if x.ndim == 1 else len(x)
    if num_examples % 2:
        raise InputError(
            "`x` must hold an even number of examples, half for each of the two opposite draws of "
            f"estimator 'antithetic', got {num_examples}"
        )
    first, second = jnp.split(x, 2)
    noise = ops.normal(key, w.mean.shape, w.mean.dtype)
    return jnp.concatenate([linear(first, w.at(noise)), linear(second, w.at(-noise))])


def per_example(linear: Linear, x: Array, w: Gaussian, key: KeyArray) -> Array:
    """An independent draw of the weights for each example: what flipout imitates.

    As many weights in memory as the batch is long; for research into estimators.
    """
    if x.ndim == 1:
        return reparam(linear, x, w, key)
    noise = ops.normal(key, (len(x), *w.mean.shape), w.mean.dtype)
    return jax.vmap(lambda x, noise: linear(x[None], w.at(noise))[0])(x, noise)


_ESTIMATORS: Mapping[Estimator, Callable[[Linear, Array, Gaussian, KeyArray], Array]] = {
    "reparam": reparam,
    "local_reparam": local_reparam,
    "flipout": flipout,
    "antithetic": antithetic,
    "per_example": per_example,
}


def draw(linear: Linear, x: Array, w: Array | Gaussian, key: KeyArray | None) -> Array:
    """``linear(x, w)``: of an array as it is, of a Gaussian leaf by its own estimator."""
    if not isinstance(w, Gaussian):
        return linear(x, w)
    assert key is not None
    return _ESTIMATORS[w.estimator](linear, x, w, key)
