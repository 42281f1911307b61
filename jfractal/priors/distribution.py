"""NumPyro's distributions as priors."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import distributions as dist
from numpyro.distributions import constraints
from numpyro.distributions.kl import kl_divergence

from jfractal.arguments import described
from jfractal.errors import InputError
from jfractal.posterior.gaussian import Gaussian
from jfractal.priors.prior import Prior
from jfractal.typing import Array, KeyArray

__all__ = ["Distribution", "PriorLike", "as_prior"]

PriorLike: TypeAlias = Prior | dist.Distribution
"""A prior, or a NumPyro distribution that `as_prior` turns into one."""


def as_prior(prior: Any, name: str = "prior") -> Prior:
    """The prior itself, or a `numpyro.distributions` object as a prior.

    Args:
        prior: A `Prior`, or a NumPyro distribution.
        name: Name of the argument in messages.

    Returns:
        A prior.

    Raises:
        InputError: If `prior` is neither, or is not a distribution over all real numbers.
    """
    if isinstance(prior, Prior):
        return prior
    if not isinstance(prior, dist.Distribution):
        raise InputError(
            f"`{name}` must be a Prior or a numpyro.distributions.Distribution, got "
            f"{described(prior)}"
        )
    if not _is_over_reals(prior.support):
        raise InputError(
            f"`{name}` must be a distribution over the real numbers, got "
            f"{type(prior).__name__} with support {prior.support}"
        )
    return Distribution(prior)


@dataclass(frozen=True, eq=False)
class Distribution(Prior):
    """A NumPyro distribution as a prior; its KL is exact if NumPyro has the KL from a Normal.

    Attributes:
        distribution: The distribution. Its batch shape must broadcast to the leading axes of a
            leaf, and its event shape must match the last axes.
    """

    distribution: dist.Distribution

    def __post_init__(self):
        if not isinstance(self.distribution, dist.Distribution):
            raise InputError(
                "`distribution` must be a numpyro.distributions.Distribution, got "
                f"{described(self.distribution)}"
            )

    def at(self, path: str, shape: tuple[int, ...]) -> "Distribution":
        """This prior, if its shape fits the leaf.

        Raises:
            InputError: If it does not fit.
        """
        batch, event = self.distribution.batch_shape, self.distribution.event_shape
        lead = shape[: len(shape) - len(event)]
        if lead + event != shape or not _broadcasts(batch, lead):
            raise InputError(
                f"`prior` must broadcast to the shape {shape} of the leaf '{path}', got a "
                f"{type(self.distribution).__name__} of batch shape {batch} and event shape {event}"
            )
        return self

    def log_prob(self, w: Array) -> Array:
        """Log density of each event of `w`, in nats."""
        with jax.numpy_rank_promotion("allow"):
            return jnp.asarray(self.distribution.log_prob(w))

    def kl(self, leaf: Gaussian, key: KeyArray | None = None) -> Array:
        """The KL in nats, from NumPyro's `kl_divergence` if possible, otherwise from one draw."""
        # The KL is summed over the leaf, so it does not matter which axes are an event.
        leaf, prior = leaf.wide, self.distribution
        while isinstance(prior, dist.Independent):
            prior = prior.base_dist
        try:
            with jax.numpy_rank_promotion("allow"):
                std = jnp.maximum(leaf.std, jnp.sqrt(jnp.finfo(leaf.std.dtype).tiny))
                return kl_divergence(dist.Normal(leaf.mean, std), prior)
        except NotImplementedError:
            return super().kl(leaf, key)


def _is_over_reals(support: Any) -> bool:
    return getattr(support, "base_constraint", support) == constraints.real


def _broadcasts(batch: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(batch, shape) == shape
    except ValueError:
        return False
