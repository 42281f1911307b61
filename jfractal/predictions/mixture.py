"""What draws of the weights predict together."""

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

    A mixture is a few statistics, such as the mean probability, and the draws that it is made of,
    unless these were reduced on the way. Mixtures of mixtures are mixtures: so many draws add up
    pass by pass, and routes of a net to one prediction.

    A subclass is a frozen dataclass, registered by `jax.tree_util.register_dataclass`, whose fields
    are its statistics, arrays with a leading axis of examples. It gives `single` and `mixed`.

    Attributes:
        draws: What each draw predicts by itself: a mixture of the same class, all of whose arrays
            have a leading axis of draws. None for a single draw, and where they were not kept.
        log_weights: Log of each draw's share, "samples"; None without draws.
    """

    # `Any`, for JAX rebuilds trees with shapes and other stand-ins where arrays were.
    draws: Any = None
    log_weights: Any = None

    @classmethod
    def single(cls, *args: Any, **kwargs: Any) -> Self:
        """What one draw predicts, from the parameters of its distribution, "batch ..." each."""
        raise NotImplementedError

    @classmethod
    def read(cls, *parameters: Any) -> tuple[Array, ...]:
        """The parameters of `single`, found to be what they are called, with any leading axes."""
        return tuple(jnp.asarray(x) for x in parameters)

    def mixed(self, log_weights: Float[Array, " parts"]) -> Self:
        """The statistics of the mixture of parts, which are stacked along a leading axis.

        Args:
            log_weights: Log of their shares, which sum to 1.
        """
        raise NotImplementedError

    @classmethod
    def of(cls, *parameters: Any, log_weights: Float[ArrayLike, " samples"] | None = None) -> Self:
        """The mixture of many draws.

        Args:
            *parameters: Those of `single`, each with a leading axis of draws.
            log_weights: Log of each draw's share, "samples"; equal if left out.

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
        """The draws and the log of their shares, for what cannot be told without them.

        Raises:
            InputError: If they were not kept.
        """
        if self.draws is None:
            raise InputError(
                f"`{what}` needs what every draw of the weights predicts, which this prediction "
                "does not hold: call `predict` with `keep_samples=True`"
            )
        return self.draws, self.log_weights


def over_draws(draws: M, log_weights: Float[ArrayLike, " samples"] | None = None) -> M:
    """The mixture of draws, which it keeps.

    Args:
        draws: What each draw predicts, stacked along a leading axis.
        log_weights: Log of each draw's share, "samples"; equal if left out.

    Raises:
        InputError: If `log_weights` is not one number for each draw.
    """
    n = len(jax.tree.leaves(draws)[0])
    log_weights = log_shares(log_weights, n, "draws")
    return replace(_mixed(draws, log_weights), draws=draws, log_weights=log_weights)


def mixture(predictions: Sequence[M], log_weights: Float[ArrayLike, " predictions"]) -> M:
    """One prediction out of several, ``p(y | x) = Σ_r π_r p_r(y | x)``, exactly.

    Over the routes of a net, each with S draws of the weights, its ``epistemic`` is the mutual
    information of the label with weights and route: columns that disagree count.

    Args:
        predictions: Of one kind, for the same examples.
        log_weights: Their log probabilities ``log π_r``, e.g. `Routes.log_probs`.

    Returns:
        A prediction of the same kind, which keeps all draws if all predictions have kept theirs.

    Raises:
        InputError: If there are no predictions, they differ in kind, or there is not one weight
            for each.
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
    """An array in float32 at least: what is reported of a net that computes in half precision."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
