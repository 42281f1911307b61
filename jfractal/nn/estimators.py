"""Estimators: unbiased draws of ``linear(x, w)`` with ``w ~ N(mean, std²)``.

They differ in what the examples of a batch share, and so in how the noise of a gradient falls with
the batch size. All of them take any function that is linear in `w`; for `local_reparam` and
`flipout`, it must also be linear in `x`. The first axis of `x` counts examples, the last features;
a vector is one example.
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
    """Draws outputs instead of weights: ``N(linear(x, mean), linear(x², std²))``.

    The marginal of every output is exact. The outputs of a convolution at different pixels share
    weights, but are drawn as if they were independent. The gradient has less variance, at the cost
    of two passes.

    Source: Kingma, Salimans & Welling, NeurIPS 2015, eq. 6.
    """
    centre = linear(x, w.mean)
    noise = ops.normal(key, centre.shape, centre.dtype)
    return centre + _scaled(linear(x**2, w.std**2), noise)


@jax.custom_jvp
def _scaled(variance: Array, noise: Array) -> Array:
    """``√variance · noise``, with a gradient for which XLA does not draw the noise again."""
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

    It is ``linear(x, mean) + s ∘ linear(r ∘ x, std·ε)`` with one ε for the batch and random signs
    r, s for each example and channel.

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
    """Two opposite draws: the first half of the batch sees ``mean + std·ε``, the second −ε.

    It costs one pass. Terms that are odd in ε cancel between the halves, as far as the halves are
    similar.

    Raises:
        InputError: If the number of examples is odd.

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
    """An independent draw of the weights for each example, which flipout imitates.

    It keeps one set of weights per example in memory, and is meant for research into estimators.
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
    """``linear(x, w)`` for an array, or a draw of it by the estimator of a Gaussian leaf."""
    if not isinstance(w, Gaussian):
        return linear(x, w)
    assert key is not None
    return _ESTIMATORS[w.estimator](linear, x, w, key)
