"""What a prior over weights is."""

from typing import Any

import jax.numpy as jnp

from jfractal.concrete import concrete
from jfractal.errors import InputError
from jfractal.posterior.gaussian import Gaussian, named_leaves
from jfractal.posterior.routes import Routes
from jfractal.typing import Array, KeyArray, Params, Scalar

__all__ = ["Prior", "check_positive"]


class Prior:
    """A distribution over weights.

    A subclass gives `log_prob`, and `kl` where it is exact; one whose leaves differ gives `at`.
    """

    def at(self, path: str, shape: tuple[int, ...]) -> "Prior":
        """The prior of one leaf of a tree; this one, unless a subclass tells leaves apart.

        Args:
            path: Where the leaf stands, e.g. ``block1/conv/kernel``.
            shape: Its shape.

        Returns:
            A prior with `log_prob` and `kl`.
        """
        return self

    def log_prob(self, w: Array) -> Array:
        """The terms whose sum is the log density of a leaf at `w`, in nats.

        One for each entry of `w` where entries are independent, fewer where they are not.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no density of its own: `at(path, shape)` is that of a leaf"
        )

    def tree_log_prob(self, params: Params) -> Scalar:
        """Log density of a tree of arrays, in nats, summed over all weights.

        A `Routes` among them is a distribution π, and stands for ``−KL(π ‖ uniform)``.
        """
        terms = (
            -leaf.kl()
            if isinstance(leaf, Routes)
            else self.at(path, jnp.shape(leaf)).log_prob(leaf).sum()
            for path, leaf in named_leaves(params)
        )
        return sum(terms, start=jnp.zeros(()))

    def kl(self, leaf: Gaussian, key: KeyArray | None = None) -> Array:
        """The terms whose sum is KL(leaf ‖ self): ``log q(w) − log p(w)`` at one draw ``w ~ q``.

        In nats. One for each entry of the leaf where entries are independent, fewer where they are
        not.

        Raises:
            InputError: If no key is given.
        """
        if key is None:
            raise InputError(f"the KL to {self!r} has no closed form: `key` must be given")
        w = leaf.sample(key)
        log_q, log_p = leaf.log_prob(w), self.log_prob(w)
        return log_q - log_p if jnp.shape(log_p) == log_q.shape else log_q.sum() - log_p.sum()


def check_positive(**parameters: Any) -> None:
    """Refuses parameters that are known and not above 0."""
    for name, value in parameters.items():
        known = concrete(value)
        if known is not None and not (known > 0).all():
            raise InputError(f"`{name}` must be above 0, got {value}")
