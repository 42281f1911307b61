"""The module at a `topology.Unit`: a linear layer, dropout, normalisation, activation."""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import flax.linen as nn
import jax.numpy as jnp

from jfractal import ops
from jfractal.arguments import check_choice, check_flags, check_functions, check_rate
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.nn.bayes import Conv
from jfractal.nn.dtypes import Typed
from jfractal.nn.initializers import Initializer, he
from jfractal.nn.norms import get_norm
from jfractal.typing import Array

__all__ = ["ConvUnit", "DenseUnit", "Order", "SeparableUnit", "Unit"]

Order = Literal["post", "pre"]


class Unit(Typed):
    """linear – dropout – norm – ReLU, or norm – ReLU – linear – dropout in the order ``pre``.

    A subclass defines its linear part and what it costs.

    Attributes:
        features: Number of output channels.
        norm: Name of the normalisation, see `jfractal.nn.norms.get_norm`.
        dropout: Probability of dropping an activation in training.
        kernel_init: Initial kernel, see `jfractal.nn.initializers`.
        order: ``post`` (FractalNet) or ``pre`` (the pre-activation order of later residual nets).
        use_bias: Whether the linear part has a bias, as it does once a norm is folded in.
        dtype: Type of the computation and of the outputs, see `Typed`.
        param_dtype: Type of the weights, see `Typed`.

    Source: Larsson et al., ICLR 2017, §2; dropout is placed as in the authors' code.
        Pre-activation: He et al., "Identity mappings in deep residual networks", ECCV 2016.
    """

    features: int
    norm: str = "batch"
    dropout: float = 0.0
    kernel_init: Initializer = he
    order: Order = "post"
    use_bias: bool = False

    last = "conv"  # name of the layer that `linear` ends with

    def __post_init__(self):
        """Refuses settings that are out of range."""
        check_counts(features=self.features)
        get_norm(self.norm)
        check_rate(dropout=self.dropout)
        check_functions(kernel_init=self.kernel_init)
        check_choice("order", self.order, get_args(Order))
        check_flags(use_bias=self.use_bias)
        super().__post_init__()

    def linear(self, x: Array) -> Array:
        """The linear part."""
        raise NotImplementedError

    def macs(self, channels: int, space: int) -> int:
        """Multiply-adds of the linear part for each output pixel.

        Args:
            channels: Input channels.
            space: Number of spatial axes.
        """
        raise NotImplementedError

    def num_params(self, channels: int, space: int) -> int:
        """Number of weights: kernels, affine map of the norm, bias. Arguments as for `macs`."""
        normalised = channels if self.order == "pre" else self.features
        affine = 0 if self.norm == "none" else 2 * normalised
        return self.macs(channels, space) + affine + self.use_bias * self.features

    @nn.compact
    def __call__(self, x: Array, *, train: bool, alone: bool) -> Array:
        """Maps "batch *space channels" to "batch *space features".

        Args:
            x: Feature maps.
            train: Whether to use and update batch statistics, and to drop activations.
            alone: Whether the unit's column runs alone.

        Raises:
            InputError: If a convolution gets inputs without spatial axes.
        """

        def activate(x: Array) -> Array:
            return nn.relu(get_norm(self.norm)(**self.dtypes)(x, train=train, alone=alone))

        x = self.linear(activate(x) if self.order == "pre" else x)
        x = self._dropout(x) if train and self.dropout > 0 else x
        return x if self.order == "pre" else activate(x)

    def _layer(self, layer: Callable[..., nn.Module], *, use_bias: bool) -> partial:
        """A linear layer with the settings of the unit."""
        return partial(layer, use_bias=use_bias, kernel_init=self.kernel_init, **self.dtypes)

    def _dropout(self, x: Array) -> Array:
        """Like `nn.Dropout`, whose draws on CPU take as long as the convolution before them."""
        keep = ops.bernoulli(self.make_rng("dropout"), 1 - self.dropout, x.shape)
        return jnp.where(keep, x / (1 - self.dropout), 0)


def _num_space(x: Array) -> int:
    if x.ndim < 3:
        raise InputError(
            f"`x` must have a spatial axis for a convolution, got the shape {x.shape}; "
            "use a DenseUnit for flat features"
        )
    return x.ndim - 2


class ConvUnit(Unit):
    """A unit around a convolution, over as many spatial axes as the input has.

    Attributes:
        conv: `Conv`, `BayesConv`, `nn.Conv` or a partial of one.
        kernel_size: Size of the window along each spatial axis.
    """

    conv: Callable[..., nn.Module] = Conv
    kernel_size: int = 3

    def __post_init__(self):
        """Refuses settings that are out of range."""
        check_functions(conv=self.conv)
        check_counts(kernel_size=self.kernel_size)
        super().__post_init__()

    def linear(self, x: Array) -> Array:
        """One convolution."""
        window = (self.kernel_size,) * _num_space(x)
        make = self._layer(self.conv, use_bias=self.use_bias)
        return make(self.features, window, name="conv")(x)

    def macs(self, channels: int, space: int) -> int:
        """k^space · channels · features."""
        return self.kernel_size**space * channels * self.features


class SeparableUnit(Unit):
    """A unit around a depthwise convolution and a 1×1 convolution.

    Attributes:
        conv: `Conv`, `BayesConv`, `nn.Conv` or a partial of one.
        kernel_size: Size of the window along each spatial axis.

    Source: Chollet, "Xception", CVPR 2017.
    """

    conv: Callable[..., nn.Module] = Conv
    kernel_size: int = 3

    last = "pointwise"

    def __post_init__(self):
        """Refuses settings that are out of range."""
        check_functions(conv=self.conv)
        check_counts(kernel_size=self.kernel_size)
        super().__post_init__()

    def linear(self, x: Array) -> Array:
        """A convolution of every single channel, then a 1×1 convolution over channels."""
        channels, space = x.shape[-1], _num_space(x)
        make = self._layer(self.conv, use_bias=False)
        window, pixel = (self.kernel_size,) * space, (1,) * space
        x = make(channels, window, feature_group_count=channels, name="depthwise")(x)
        return make(self.features, pixel, use_bias=self.use_bias, name="pointwise")(x)

    def macs(self, channels: int, space: int) -> int:
        """k^space · channels + channels · features."""
        return self.kernel_size**space * channels + channels * self.features


class DenseUnit(Unit):
    """A unit around a dense layer, for inputs without spatial axes (or applied to every pixel).

    Attributes:
        dense: `nn.Dense`, `BayesDense` or a partial of one.
    """

    dense: Callable[..., nn.Module] = nn.Dense

    last = "dense"

    def __post_init__(self):
        """Refuses settings that are out of range."""
        check_functions(dense=self.dense)
        super().__post_init__()

    def linear(self, x: Array) -> Array:
        """One dense layer."""
        make = self._layer(self.dense, use_bias=self.use_bias)
        return make(self.features, name="dense")(x)

    def macs(self, channels: int, space: int) -> int:
        """channels · features."""
        return channels * self.features
