"""The mixture of the predictions of many draws."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jfractal.arguments import described
from jfractal.errors import InputError
from jfractal.metrics.inputs import log_shares
from jfractal.summary import summary
from jfractal.typing import Array, Float

__all__ = ["Mixture", "average", "mixture", "over_draws", "wide"]

M = TypeVar("M", bound="Mixture")


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """A predictive distribution ``p(y | x, D) = Σ_s w_s p(y | x, w_s)`` for every example.

    A mixture holds a few statistics, such as the mean probability, and the draws that it is made
    of, if they were kept. A mixture of mixtures is a mixture, so draws can be added up pass by
    pass, and the routes of a net combined into one prediction.

    A subclass is a frozen dataclass, registered by `jax.tree_util.register_dataclass`. Its fields
    are its statistics: arrays with a leading axis of examples. It defines `single` and `mixed`.

    Attributes:
        draws: The predictions of single draws: a mixture of the same class, whose arrays all have a
            leading axis of draws. None for a single draw, or if draws were not kept.
        log_weights: Log of each draw's share, "samples"; None without draws.
    """

    # `Any`, for JAX rebuilds trees with shapes and other stand-ins where arrays were.
    draws: Any = None
    log_weights: Any = None

    @classmethod
    def single(cls, *args: Any, **kwargs: Any) -> Self:
        """The prediction of one draw, from its distribution's parameters, "batch ..." each."""
        raise NotImplementedError

    @classmethod
    def read(cls, *parameters: Any) -> tuple[Array, ...]:
        """The parameters of `single`, checked; they may have additional leading axes."""
        return tuple(jnp.asarray(x) for x in parameters)

    def mixed(self, log_weights: Float[Array, " parts"]) -> Self:
        """The statistics of a mixture of parts, which are stacked along a leading axis.

        Args:
            log_weights: Log of the shares of the parts, which sum to 1.
        """
        raise NotImplementedError

    @classmethod
    def of(cls, *parameters: Any, log_weights: Float[ArrayLike, " samples"] | None = None) -> Self:
        """The mixture of many draws.

        Args:
            *parameters: The parameters of `single`, each with a leading axis of draws.
            log_weights: Log of each draw's share, "samples". By default, all shares are equal.

        Raises:
            InputError: If `log_weights` is not one number for each draw.
        """
        # Here, for within `vmap` only shapes are known.
        parameters = cls.read(*parameters)
        if not all(x.ndim for x in parameters):
            raise InputError(
                f"`parameters` must have a leading axis of draws, got shapes "
                f"{[x.shape for x in parameters]}"
            )
        return over_draws(jax.vmap(cls.single)(*parameters), log_weights)

    __repr__ = summary

    def kept(self, what: str) -> tuple[Self, Float[Array, " samples"]]:
        """The draws and the log of their shares, for quantities that need every draw.

        Raises:
            InputError: If the draws were not kept.
        """
        if self.draws is None:
            raise InputError(
                f"`{what}` needs the predictions of all draws, which were not kept: call `predict` "
                "with `keep_samples=True`"
            )
        return self.draws, self.log_weights


def over_draws(draws: M, log_weights: Float[ArrayLike, " samples"] | None = None) -> M:
    """The mixture of draws, with all draws kept.

    Args:
        draws: The predictions of all draws, stacked along a leading axis.
        log_weights: Log of each draw's share, "samples". By default, all shares are equal.

    Raises:
        InputError: If `log_weights` is not one number for each draw.
    """
    n = len(jax.tree.leaves(draws)[0])
    log_weights = log_shares(log_weights, n, "draws")
    return replace(_mixed(draws, log_weights), draws=draws, log_weights=log_weights)


def mixture(predictions: Sequence[M], log_weights: Float[ArrayLike, " predictions"]) -> M:
    """Combines several predictions into one, ``p(y | x) = Σ_r π_r p_r(y | x)``, exactly.

    For the routes of a net, each with S draws of the weights, ``epistemic`` is the mutual
    information of the label with weights and route, so it includes the disagreement of columns.

    Args:
        predictions: Predictions of one kind, for the same examples.
        log_weights: Log probabilities ``log π_r`` of the predictions, e.g. `Routes.log_probs`.

    Returns:
        A prediction of the same kind. It keeps all draws if all predictions have kept theirs.

    Raises:
        InputError: If there are no predictions, they differ in kind, or the number of weights
            differs from that of predictions.
    """
    is_list = isinstance(predictions, Sequence) and predictions
    if not is_list or not all(isinstance(p, Mixture) for p in predictions):
        raise InputError(
            f"`predictions` must be a list of one or more predictions, got {described(predictions)}"
        )
    log_weights = log_shares(log_weights, len(predictions), "predictions")
    kinds = sorted({type(p).__name__ for p in predictions})
    if len(kinds) > 1:
        raise InputError(f"`predictions` must be of one kind, got {' and '.join(kinds)}")
    stack = lambda *xs: jnp.stack(xs)
    bare = [replace(p, draws=None, log_weights=None) for p in predictions]
    together = _mixed(jax.tree.map(stack, *bare), log_weights)
    if any(p.draws is None for p in predictions):
        return together
    draws = jax.tree.map(lambda *xs: jnp.concatenate(xs), *(p.draws for p in predictions))
    within = [p.log_weights + log_w for p, log_w in zip(predictions, log_weights)]
    return replace(together, draws=draws, log_weights=jnp.concatenate(within))


@jax.jit
def _mixed(parts: M, log_weights: Array) -> M:
    return parts.mixed(log_weights)


def average(
    x: Float[Array, " parts *shape"], log_weights: Float[Array, " parts"]
) -> Float[Array, "*shape"]:
    """The mean over parts, weighted by their shares."""
    log_weights = log_shares(log_weights, len(x), "parts")
    return jnp.average(x, axis=0, weights=jnp.exp(log_weights))


def wide(x: ArrayLike) -> Array:
    """An array in float32 or wider, as predictions are reported even for half-precision nets."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
