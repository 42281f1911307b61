"""The interface of a prior over weights."""

from typing import Any

import jax.numpy as jnp

from jfractal import ops
from jfractal.arguments import described
from jfractal.errors import InputError
from jfractal.posterior.gaussian import Gaussian, named_leaves
from jfractal.posterior.routes import Routes
from jfractal.typing import Array, KeyArray, Params, Scalar

__all__ = ["Prior"]


class Prior:
    """A distribution over weights.

    A subclass defines `log_prob`, and `kl` if the KL has a closed form. If the prior differs from
    leaf to leaf, the subclass defines `at`.
    """

    def at(self, path: str, shape: tuple[int, ...]) -> "Prior":
        """The prior of one leaf of a tree; by default, this prior.

        Args:
            path: Path of the leaf, e.g. ``block1/conv/kernel``.
            shape: Shape of the leaf.

        Returns:
            A prior with `log_prob` and `kl`.
        """
        return self

    def log_prob(self, w: Array) -> Array:
        """The terms whose sum is the log density of a leaf at `w`, in nats.

        There is one term per entry of `w` if entries are independent, and fewer if they are not.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no density of its own: `at(path, shape)` is that of a leaf"
        )

    def tree_log_prob(self, params: Params) -> Scalar:
        """Log density of a tree of arrays, in nats, summed over all weights.

        A `Routes` leaf is a distribution π and contributes ``−KL(π ‖ uniform)``.

        Args:
            params: Floating-point arrays. Arrays in half precision are converted to single.

        Raises:
            InputError: If there are no weights, a leaf is not a floating-point array, or the prior
                does not fit the tree.
        """
        leaves = named_leaves(params)
        if not leaves:
            raise InputError(f"`params` must hold at least one weight, got {described(params)}")
        terms = (
            -leaf.kl()
            if isinstance(leaf, Routes)
            else self._leaf_log_prob(path, _floating(path, leaf))
            for path, leaf in leaves
        )
        return jnp.asarray(sum(terms, start=0.0))

    def _leaf_log_prob(self, path: str, w: Array) -> Scalar:
        return self.at(path, w.shape).log_prob(w).sum()

    def kl(self, leaf: Gaussian, key: KeyArray | None = None) -> Array:
        """The terms whose sum is KL(leaf ‖ self): ``log q(w) − log p(w)`` at one draw ``w ~ q``.

        They are in nats. There is one term per entry of the leaf if entries are independent, and
        fewer if they are not.

        Raises:
            InputError: If no key is given.
        """
        if key is None:
            raise InputError(f"the KL to {self!r} has no closed form: `key` must be given")
        leaf = leaf.wide
        noise = ops.normal(key, leaf.mean.shape, leaf.mean.dtype)
        log_q = -0.5 * (noise**2 + jnp.log(2 * jnp.pi)) - leaf.log_std
        log_p = self.log_prob(leaf.at(noise))
        return log_q - log_p if jnp.shape(log_p) == log_q.shape else log_q.sum() - log_p.sum()


def _floating(path: str, w: Any) -> Array:
    dtype = getattr(w, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(
            f"`params` must hold floating-point arrays, got {described(w)} at '{path}'"
        )
    return jnp.asarray(w).astype(jnp.promote_types(dtype, jnp.float32))
