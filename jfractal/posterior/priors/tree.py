"""Priors that tell the leaves of a tree apart, by path or by shape."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import jax.numpy as jnp

from jfractal.errors import InputError
from jfractal.posterior.gaussian import mean, named_leaves
from jfractal.posterior.priors.distribution import PriorLike, as_prior
from jfractal.posterior.priors.elementwise import Gaussian
from jfractal.posterior.priors.prior import Prior, check_positive
from jfractal.typing import Array, Params

__all__ = ["ByPath", "CentredOn", "FanIn"]


@dataclass(frozen=True, eq=False)
class ByPath(Prior):
    """A prior for each leaf, chosen by its path.

    ``ByPath([("*/bias", Gaussian(1.0)), ("head/*", Laplace(0.1))], default=FanIn())``

    Attributes:
        rules: Pairs of a pattern and a prior, of which the first that matches counts. A pattern is
            a glob (``*`` matches any characters, also ``/``) or a predicate of the path.
        default: The prior of leaves that no rule matches.
    """

    rules: Sequence[tuple[str | Callable[[str], bool], PriorLike]]
    default: PriorLike

    def at(self, path: str, shape: tuple[int, ...]) -> Prior:
        """The prior of the first rule that matches the path."""
        matching = (prior for pattern, prior in self.rules if _matches(pattern, path))
        return as_prior(next(matching, self.default)).at(path, shape)


def _matches(pattern: str | Callable[[str], bool], path: str) -> bool:
    return fnmatchcase(path, pattern) if isinstance(pattern, str) else pattern(path)


@dataclass(frozen=True)
class FanIn(Prior):
    """``N(0, scale² / fan_in)``: outputs of a layer keep their variance whatever its width.

    The fan-in of a leaf is the product of all its axes but the last, ``(*window, inputs)`` of a
    kernel, and 1 for a vector: a bias, the scale of a norm. An embedding table is no such kernel;
    give it a prior of its own, see `ByPath`.

    Attributes:
        scale: Standard deviation at a fan-in of 1, above 0.

    Source: Neal, "Bayesian learning for neural networks", 1996, ch. 2.
    """

    scale: float = 1.0

    def __post_init__(self):
        check_positive(scale=self.scale)

    def at(self, path: str, shape: tuple[int, ...]) -> Gaussian:
        """The Gaussian of the leaf's fan-in."""
        return Gaussian(self.scale / math.sqrt(math.prod(shape[:-1])))


@dataclass(frozen=True, eq=False)
class CentredOn(Prior):
    """``N(w₀, (scale + relative · |w₀|)²)``, centred on the weights w₀ of a trained net (MOPED).

    Attributes:
        params: The tree w₀; of Gaussian leaves, the means count.
        scale: Standard deviation of a weight that is 0 in w₀, above 0.
        relative: What a unit of |w₀| adds to it, at least 0.

    Source: Krishnan, Subedar & Tickoo, "Specifying weight priors in Bayesian deep neural networks
        with empirical Bayes", AAAI 2020 (there scale = 1, relative = 0).
    """

    params: Params
    scale: float = 1.0
    relative: float = 0.0

    def __post_init__(self):
        check_positive(scale=self.scale)
        if self.relative < 0:
            raise InputError(f"`relative` must be at least 0, got {self.relative}")

    @cached_property
    def _centres(self) -> dict[str, Array]:
        return dict(named_leaves(mean(self.params)))

    def at(self, path: str, shape: tuple[int, ...]) -> Gaussian:
        """The Gaussian around the leaf of w₀ that stands at the same path.

        Raises:
            InputError: If there is none, or it has another shape.
        """
        if path not in self._centres:
            raise InputError(
                f"the prior is centred on a tree without a leaf '{path}', its leaves are "
                f"{sorted(self._centres)}"
            )
        centre = self._centres[path]
        if jnp.shape(centre) != shape:
            raise InputError(
                f"the prior is centred on a leaf '{path}' of shape {jnp.shape(centre)}, the "
                f"weights there have shape {shape}"
            )
        return Gaussian(self.scale + self.relative * jnp.abs(centre), centre)
