"""Observation noise that is learned with the net."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jfractal.arguments import check_type
from jfractal.nn.fitting import fitting
from jfractal.typing import Array, Float

__all__ = ["LearnedNoise"]


class LearnedNoise(nn.Module):
    """Appends one learned ρ per output to the outputs of a net: noise that is the same everywhere.

    It is made for `likelihoods.HeteroscedasticGaussian`, ``std = softplus(ρ) + min_scale``. The
    parameter ``rho`` is a leaf like any other: it has a prior, and `mean_field` may make it
    Gaussian.

    Attributes:
        net: A module with k outputs; its parameters are under ``net``.
    """

    net: nn.Module

    def __post_init__(self):
        """Refuses anything but a module."""
        check_type("net", self.net, nn.Module, "a Flax Linen module")
        super().__post_init__()

    @property
    def columns(self) -> tuple[int, ...]:
        """The columns of the net; empty if it is not a net of blocks."""
        return getattr(self.net, "columns", ())

    @nn.compact
    def __call__(self, x: Any, **options: Any) -> Float[Array, "batch outputs"]:
        """Maps inputs of the net to "batch 2k": the k outputs of the net, then ρ."""
        with fitting(self, "x", x):
            means = self.net(x, **options)
        dtype = jnp.promote_types(means.dtype, jnp.float32)
        rho = self.param("rho", nn.initializers.zeros_init(), means.shape[-1:], dtype)
        return jnp.concatenate([means, jnp.broadcast_to(rho, means.shape)], axis=-1)
