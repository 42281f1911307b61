"""Priors that differ from leaf to leaf of a tree, by path or by shape."""

import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from jfractal.arguments import check_finite, check_number, check_positive, described
from jfractal.errors import InputError
from jfractal.posterior.gaussian import mean, named_leaves
from jfractal.priors.distribution import PriorLike, as_prior
from jfractal.priors.elementwise import Gaussian
from jfractal.priors.prior import Prior
from jfractal.typing import Array, Params

__all__ = ["ByPath", "CentredOn", "FanIn"]


@dataclass(frozen=True, eq=False)
class ByPath(Prior):
    """A prior for each leaf, chosen by its path.

    ``ByPath([("*/bias", Gaussian(1.0)), ("head/*", Laplace(0.1))], default=FanIn())``

    Attributes:
        rules: Pairs of a pattern and a prior; the first pattern that matches counts. A pattern is
            a glob (``*`` matches any characters, including ``/``) or a predicate of the path, such
            as ``re.compile("block[12]/.*").match``.
        default: The prior of leaves that no rule matches.

    Raises:
        InputError: If a rule is not a pair of a pattern and a prior, or a pattern is a compiled
            regular expression or has an open bracket.
    """

    rules: Sequence[tuple[str | Callable[[str], bool], PriorLike]]
    default: PriorLike

    def __post_init__(self):
        as_prior(self.default, "default")
        if not isinstance(self.rules, Sequence) or isinstance(self.rules, str):
            raise InputError(
                f"`rules` must be pairs of a pattern and a prior, got {described(self.rules)}"
            )
        for rule in self.rules:
            _check_rule(rule)

    def at(self, path: str, shape: tuple[int, ...]) -> Prior:
        """The prior of the first rule that matches the path."""
        matching = (prior for pattern, prior in self.rules if _matches(pattern, path))
        return as_prior(next(matching, self.default)).at(path, shape)


def _check_rule(rule: Any) -> None:
    is_pair = isinstance(rule, Sequence) and len(rule) == 2 and not isinstance(rule, str)
    if not is_pair or not (isinstance(rule[0], str) or callable(rule[0])):
        raise InputError(f"`rules` must be pairs of a pattern and a prior, got {described(rule)}")
    pattern, prior = rule
    as_prior(prior, "rules")
    # What none of these paths holds, but regular expressions do; and brackets that are not closed.
    if isinstance(pattern, str) and (
        not pattern or re.search(r"^\.\*|[\\^$()|+]|\[(?!.[^\]]*\])", pattern)
    ):
        raise InputError(
            f"`rules` must have globs for patterns, such as '*/kernel' (of a regular expression, "
            f"give the method `match`), got {pattern!r}"
        )


def _matches(pattern: str | Callable[[str], bool], path: str) -> bool:
    return fnmatchcase(path, pattern) if isinstance(pattern, str) else pattern(path)


@dataclass(frozen=True)
class FanIn(Prior):
    """``N(0, scale² / fan_in)``: outputs of a layer have the same variance at any width.

    The fan-in of a leaf is the product of all its axes but the last: ``(*window, inputs)`` for a
    kernel, and 1 for a vector, such as a bias or the scale of a norm. An embedding table is
    different, because its rows are not summed. A leaf named ``embedding`` therefore causes a
    warning; give it its own prior, see `ByPath`.

    Attributes:
        scale: Standard deviation at a fan-in of 1, above 0.

    Source: Neal, "Bayesian learning for neural networks", 1996, ch. 2.
    """

    scale: float = 1.0

    def __post_init__(self):
        check_positive(scale=self.scale)

    def at(self, path: str, shape: tuple[int, ...]) -> Gaussian:
        """The Gaussian for the fan-in of the leaf."""
        if len(shape) > 1 and path.rpartition("/")[2] == "embedding":
            warnings.warn(
                f"the prior by fan-in takes the {shape[0]} tokens of the table '{path}' for inputs "
                f"that are added up, and makes it {math.sqrt(shape[0]):.0f} times narrower: give "
                f"it a prior of its own, `ByPath([({path!r}, Gaussian(...))], default=FanIn(...))`",
                stacklevel=2,
            )
        return Gaussian(self.scale / math.sqrt(max(1, math.prod(shape[:-1]))))


@dataclass(frozen=True, eq=False)
class CentredOn(Prior):
    """``N(w₀, (scale + relative · |w₀|)²)``, centred on the weights w₀ of a trained net (MOPED).

    Attributes:
        params: The tree w₀. Gaussian leaves are replaced by their means.
        scale: Standard deviation of a weight that is 0 in w₀, above 0.
        relative: Increase of the standard deviation per unit of |w₀|, at least 0.

    Source: Krishnan, Subedar & Tickoo, "Specifying weight priors in Bayesian deep neural networks
        with empirical Bayes", AAAI 2020 (with scale = 1, relative = 0).
    """

    params: Params
    scale: float = 1.0
    relative: float = 0.0

    def __post_init__(self):
        check_positive(scale=self.scale)
        check_number(
            "at least 0 and finite", lambda x: (x >= 0) & np.isfinite(x), relative=self.relative
        )
        if not self._centres:
            raise InputError(
                f"`params` must hold at least one weight, got {described(self.params)}"
            )
        for path, leaf in self._centres.items():
            if not jnp.issubdtype(getattr(leaf, "dtype", bool), jnp.floating):
                raise InputError(
                    f"`params` must hold floating-point weights, got {described(leaf)} at '{path}'"
                )
            check_finite("params", leaf)

    @cached_property
    def _centres(self) -> dict[str, Array]:
        return dict(named_leaves(mean(self.params)))

    def at(self, path: str, shape: tuple[int, ...]) -> Gaussian:
        """The Gaussian around the leaf of w₀ at the same path.

        Raises:
            InputError: If w₀ has no such leaf, or it has another shape.
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
