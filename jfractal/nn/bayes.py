"""Dense and convolutional layers whose weights may be distributions.

A layer that finds arrays in its parameters is `nn.Dense` or `nn.Conv`. One that finds `Gaussian`
leaves draws from them by the leaf's estimator, with the rng stream ``posterior``. Tied use of a
layer is one random variable: draws are keyed by the parameter's path, not by the call.
"""

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax

from jfractal import ops
from jfractal.errors import InputError
from jfractal.posterior.gaussian import Estimator, Gaussian, mean, mean_field
from jfractal.typing import Array, KeyArray, Params

__all__ = ["BayesConv", "BayesDense", "Conv", "flipout", "local_reparam", "reparam"]

Linear = Callable[[Array, Array], Array]


# Estimators: unbiased draws of the layer's output, ``linear(x, w)`` with ``w ~ N(mean, std²)``.


def reparam(linear: Linear, x: Array, kernel: Gaussian, key: KeyArray) -> Array:
    """One draw of the weights for the whole batch: ``linear(x, mean + std·ε)``.

    Source: Blundell et al., ICML 2015, §3.2; Kingma & Welling, ICLR 2014.
    """
    return linear(x, kernel.sample(key))


def local_reparam(linear: Linear, x: Array, kernel: Gaussian, key: KeyArray) -> Array:
    """Draws outputs in place of weights: ``N(linear(x, mean), linear(x², std²))``.

    Exact in the margin of every output; the outputs of a convolution at different pixels, which
    share weights, are drawn as if independent. Less variance in the gradient, at two passes.

    Source: Kingma, Salimans & Welling, NeurIPS 2015, eq. 6.
    """
    centre = linear(x, kernel.mean)
    variance = linear(x**2, kernel.std**2)
    # Where the input is all zero the variance is, and the root has no gradient there.
    std = jnp.sqrt(jnp.where(variance > 0, variance, 1.0)) * (variance > 0)
    return centre + std * jax.random.normal(key, centre.shape, centre.dtype)


def flipout(linear: Linear, x: Array, kernel: Gaussian, key: KeyArray) -> Array:
    """A pseudo-independent draw of the weights for each example.

    ``linear(x, mean) + s ∘ linear(r ∘ x, std·ε)`` with one ε for the batch and random signs r, s
    for each example and channel.

    Source: Wen et al., "Flipout", ICLR 2018, eq. 4.
    """
    key_noise, key_in, key_out = jax.random.split(key, 3)
    centre = linear(x, kernel.mean)
    noise = kernel.std * jax.random.normal(key_noise, kernel.mean.shape, kernel.mean.dtype)

    def signs(key: KeyArray, like: Array) -> Array:
        shape = [n if axis in (0, like.ndim - 1) else 1 for axis, n in enumerate(like.shape)]
        return jax.random.rademacher(key, shape, like.dtype)

    return centre + signs(key_out, centre) * linear(x * signs(key_in, x), noise)


# Layers


class Conv(nn.Conv):
    """`nn.Conv` on `jfractal.ops.conv_general_dilated`, fast under `vmap` over its kernel."""

    conv_general_dilated: Any = ops.conv_general_dilated


class BayesDense(nn.Dense):
    """`nn.Dense` with Gaussian weights from `init` on; takes all its arguments.

    Parameters: ``kernel`` (inputs, features) and ``bias`` (features,), each a `Gaussian` leaf.
    Rng stream: ``posterior``, unless the leaves have been replaced by arrays.

    Attributes:
        scale: Initial standard deviation of every weight, above 0.
        estimator: How the leaves made by `init` are drawn from, see `Gaussian`.
    """

    scale: float = 0.01
    estimator: Estimator = "reparam"

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Maps "*batch inputs" to "*batch features"."""
        return _bayesian(self, nn.Dense, "dot_general", lax.dot_general)(inputs)


class BayesConv(Conv):
    """`nn.Conv` with Gaussian weights from `init` on; takes all its arguments.

    Parameters: ``kernel`` (*window, inputs, features) and ``bias`` (features,), each a `Gaussian`
    leaf. Rng stream: ``posterior``, unless the leaves have been replaced by arrays.

    Attributes:
        scale: Initial standard deviation of every weight, above 0.
        estimator: How the leaves made by `init` are drawn from, see `Gaussian`.
    """

    scale: float = 0.01
    estimator: Estimator = "reparam"

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Maps "batch *space inputs" to "batch *space features"."""
        return _bayesian(self, Conv, "conv_general_dilated", ops.conv_general_dilated)(inputs)


def _bayesian(layer: Any, base: type[nn.Module], operation: str, linear: Callable) -> nn.Module:
    """The layer's `base` with Gaussian initialisers, and estimators around its one operation.

    Flax's layers let their operation and their type promotion be replaced; all else, from padding
    to precision, stays Flax's.
    """
    options = {f.name: getattr(layer, f.name) for f in fields(base) if f.init}
    inner = base(
        **options
        | {
            "kernel_init": _gaussian_init(layer, layer.kernel_init),
            "bias_init": _gaussian_init(layer, layer.bias_init),
            "promote_dtype": partial(_promote_dtype, layer),
            operation: partial(_estimate, layer, getattr(layer, operation) or linear),
            "name": None,
            "parent": layer,
        }
    )
    nn.share_scope(layer, inner)
    return inner


def _gaussian_init(layer: Any, mean_init: Callable) -> Callable:
    def init(key: KeyArray, shape: tuple[int, ...], dtype: Any) -> Params:
        return mean_field(
            mean_init(key, shape, dtype), scale=layer.scale, estimator=layer.estimator
        )

    return init


def _promote_dtype(layer: nn.Module, x: Array, kernel: Any, bias: Any, *, dtype: Any) -> tuple:
    """Flax's promotion; draws the bias, and leaves the kernel to `_estimate`."""
    if layer.is_initializing():  # only shapes matter then, and no key is asked for
        kernel, bias = mean((kernel, bias))
    if isinstance(bias, Gaussian):
        bias = bias.sample(_path_keys(layer)[1])
    if isinstance(kernel, Gaussian):
        x, _, bias = promote_dtype(x, kernel.mean, bias, dtype=dtype)
        return x, kernel, bias
    return tuple(promote_dtype(x, kernel, bias, dtype=dtype))


def _estimate(
    layer: nn.Module, linear: Callable, x: Array, kernel: Any, *args: Any, **kwargs: Any
) -> Array:
    def apply(x: Array, w: Array) -> Array:
        return linear(x, w.astype(x.dtype), *args, **kwargs)

    match kernel:
        case Gaussian(estimator="local_reparam"):
            return local_reparam(apply, x, kernel, _single_use_key(layer))
        case Gaussian(estimator="flipout"):
            return flipout(apply, x, kernel, _path_keys(layer)[0])
        case Gaussian():
            return reparam(apply, x, kernel, _path_keys(layer)[0])
    return apply(x, kernel)


def _path_keys(layer: nn.Module) -> KeyArray:
    """Keys of the kernel and the bias: they depend on where the layer stands, not on the call."""
    scope = layer.scope
    assert scope is not None
    if not layer.has_rng("posterior"):
        raise InputError(
            f"the weights of {_path(layer)} are Gaussian: give `apply` rngs={{'posterior': key}}, "
            "or draw them first with `sample(params, key)`"
        )
    rng: Any = scope.rngs["posterior"]
    return jax.random.split(rng.as_jax_rng())


def _single_use_key(layer: nn.Module) -> KeyArray:
    scope = layer.scope
    assert scope is not None
    _path_keys(layer)  # complains if there is no stream
    if scope.rng_counters["posterior"] > 0:
        raise InputError(
            f"{_path(layer)} is used more than once in a pass: 'local_reparam' draws outputs and "
            "cannot let two uses share their weights; use 'reparam' or 'flipout'"
        )
    return layer.make_rng("posterior")


def _path(layer: nn.Module) -> str:
    return "/".join(layer.path) or type(layer).__name__
