"""Normalisation layers, chosen by name."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jfractal import ops
from jfractal.arguments import check_choice
from jfractal.errors import InputError
from jfractal.nn.dtypes import Typed
from jfractal.typing import Array

__all__ = ["EPSILON", "MOMENTUM", "BatchNorm", "FilterResponseNorm", "Norm", "get_norm"]

MOMENTUM = 0.9  # of running averages of batch statistics
EPSILON = 1e-5  # added to variances of a batch


class Norm(Typed):
    """The base of all normalisation layers: the affine map, and the type of the outputs.

    A subclass defines `normalised`. Statistics are float32 or wider.

    Attributes:
        dtype: Type of the outputs. By default, that of the inputs.
        param_dtype: Type of ``scale`` and ``bias``.
    """

    param_dtype: Any = jnp.float32

    def normalised(self, x: Array, *, train: bool, alone: bool) -> Array:
        """Normalises feature maps and applies the affine map."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, x: Array, *, train: bool, alone: bool) -> Array:
        """Normalises feature maps.

        Args:
            x: Feature maps, "batch *space channels".
            train: Whether to use and update batch statistics; only batch norms use it.
            alone: Whether the unit's column runs alone; only batch norms use it.
        """
        y = self.normalised(x, train=train, alone=alone)
        return y.astype(x.dtype if self.dtype is None else self.dtype)

    def affine(self, x: Array) -> tuple[Array, Array]:
        """Parameters ``scale`` and ``bias``, with as many axes as `x`."""
        shape, channels = (1,) * (x.ndim - 1) + x.shape[-1:], x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones_init(), channels, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), channels, self.param_dtype)
        return jnp.reshape(scale, shape), jnp.reshape(bias, shape)


class BatchNorm(Norm):
    """Batch normalisation with separate statistics for each route, and one affine map for all.

    Activations have another distribution when a column runs alone than in the joined net, where a
    join has averaged the input of a unit. Statistics shared by both fit neither. A unit of a column
    runs either joined with the others or alone, so there are two sets: ``joined`` and ``alone``.
    Units that belong to no column use one ``alone`` set for all columns. A third set, ``shared``,
    averages over all batches, whatever their route. Training uses none of them, so a trained net
    can be evaluated with either kind.

    Parameters: ``scale`` and ``bias`` (channels,). Statistics: ``mean`` and ``var`` (channels,) for
    each of ``joined``, ``alone`` and ``shared``.

    Attributes:
        momentum: Decay of the running averages.
        epsilon: Constant added to the variance.
        is_shared: Whether predictions use the shared statistics, as in earlier implementations
            of FractalNet.

    Source: Ioffe & Szegedy, ICML 2015; switchable statistics: Yu et al., "Slimmable neural
    networks", ICLR 2019.
    """

    momentum: float = MOMENTUM
    epsilon: float = EPSILON
    is_shared: bool = False

    def normalised(self, x: Array, *, train: bool, alone: bool) -> Array:
        """Normalises by the statistics of the batch, or by those of the route."""
        channels, axes = x.shape[-1:], tuple(range(x.ndim - 1))
        route = "alone" if alone else "joined"
        statistics = {
            name: self.variable(
                "batch_stats",
                name,
                lambda: {"mean": jnp.zeros(channels), "var": jnp.ones(channels)},
            )
            for name in ("joined", "alone", "shared")
        }
        scale, bias = self.affine(x)
        if not train:
            running = statistics["shared" if self.is_shared else route].value
            mean, var = (running[name].reshape(scale.shape) for name in ("mean", "var"))
            return (x - mean) * (scale * lax.rsqrt(var + self.epsilon)) + bias
        y, mean, var = ops.normalize(x, scale, bias, axes=axes, epsilon=self.epsilon)
        if not self.is_initializing():
            batch = {"mean": mean.reshape(channels), "var": var.reshape(channels)}
            for name in (route, "shared"):
                statistics[name].value = _moved(statistics[name].value, batch, self.momentum)
        return y


@jax.jit  # traced once, however many layers are alike
def _moved(averages: dict[str, Array], batch: dict[str, Array], momentum: float) -> Any:
    return jax.tree.map(lambda old, new: momentum * old + (1 - momentum) * new, averages, batch)


class FilterResponseNorm(Norm):
    """Divides every channel of an image by its root mean square: no batch statistics.

    ``y = scale · x / sqrt(mean_pixels(x²) + ε) + bias``. The likelihood of an example then depends
    on the weights and that example only, as Bayesian nets and HMC require.

    Parameters: ``scale`` and ``bias`` (channels,).

    Source: Singh & Krishnan, CVPR 2020, eq. 3, without the thresholded activation.
    """

    epsilon: float = 1e-6

    def normalised(self, x: Array, *, train: bool, alone: bool) -> Array:
        """`train` and `alone` make no difference."""
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        square = jnp.mean(x**2, axis=range(1, x.ndim - 1), keepdims=True)
        scale, bias = self.affine(x)
        return x * lax.rsqrt(square + self.epsilon) * scale + bias


class GroupNorm(Norm):
    """Group normalisation in groups of 8 channels, or of all if fewer: no batch statistics.

    Parameters: ``scale`` and ``bias`` (channels,).

    Source: Wu & He, ECCV 2018.
    """

    epsilon: float = 1e-6

    def normalised(self, x: Array, *, train: bool, alone: bool) -> Array:
        """`train` and `alone` make no difference."""
        channels = x.shape[-1]
        group_size = min(8, channels)
        if channels % group_size:
            raise InputError(f"norm 'group' needs widths below 8 or multiples of 8, got {channels}")
        grouped = (channels // group_size, group_size)
        scale, bias = (p.reshape(*p.shape[:-1], *grouped) for p in self.affine(x))
        pixels, within = tuple(range(1, x.ndim - 1)), x.ndim
        y, *_ = ops.normalize(
            x.reshape(*x.shape[:-1], *grouped),
            scale,
            bias,
            axes=(*pixels, within),
            epsilon=self.epsilon,
        )
        return y.reshape(x.shape)


class LayerNorm(Norm):
    """Normalises over the channels of every single pixel: no batch statistics.

    Parameters: ``scale`` and ``bias`` (channels,).

    Source: Ba, Kiros & Hinton, 2016.
    """

    epsilon: float = 1e-6

    def normalised(self, x: Array, *, train: bool, alone: bool) -> Array:
        """`train` and `alone` make no difference."""
        y, *_ = ops.normalize(x, *self.affine(x), axes=(x.ndim - 1,), epsilon=self.epsilon)
        return y


class NoNorm(Norm):
    """The identity."""

    def normalised(self, x: Array, *, train: bool, alone: bool) -> Array:
        """Returns `x`."""
        return x


NORMS: dict[str, Callable[..., Norm]] = {
    "batch": BatchNorm,
    "batch_shared": partial(BatchNorm, is_shared=True),
    "frn": FilterResponseNorm,
    "group": GroupNorm,
    "layer": LayerNorm,
    "none": NoNorm,
}


def get_norm(name: str) -> Callable[..., Norm]:
    """The class of a normalisation layer.

    Args:
        name: ``batch`` (predicts with the statistics of the route: the joined net, or the column
            alone), ``batch_shared`` (predicts with one set for all routes), ``frn`` (filter
            response), ``group``, ``layer`` or ``none``.

    Returns:
        A module class; its instances are called as ``norm(x, train=..., alone=...)``.

    Raises:
        InputError: If the name is unknown.
    """
    check_choice("norm", name, NORMS)
    return partial(NORMS[name], name="norm")
