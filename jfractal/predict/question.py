"""What a prediction computes under one draw of the weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jfractal.errors import InputError
from jfractal.inference.net_errors import named_errors
from jfractal.nn.fast import fast
from jfractal.posterior.posterior import Posterior
from jfractal.typing import Apply, Array, Float, KeyArray, Scalar

__all__ = ["Question", "Turn", "check_apply", "turns"]


class Turn(NamedTuple):
    """One of the draws from a posterior.

    Attributes:
        key: Random key of the draw.
        point: For a posterior with members, u in [0, 1) that picks the member; None otherwise.
    """

    key: KeyArray
    point: Scalar | None


@dataclass(frozen=True)
class Question:
    """What to compute on a batch under a draw: the outputs of a net, and how to read them.

    Attributes:
        apply: ``apply(variables, x) -> outputs``.
        read: ``read(outputs)``, a tree of arrays.
    """

    apply: Apply
    read: Callable[[Any], Any]

    def __call__(self, posterior: Any, turn: Turn, x: Any) -> Any:
        """The answer under one draw."""
        if turn.point is not None:
            posterior = posterior.member(turn.point)
        variables = posterior.sample(turn.key)
        with named_errors(x):
            outputs = fast(self.network(posterior))(variables, x)
        return self.read(outputs)

    def network(self, posterior: Any) -> Apply:
        """The function to run under a draw: the net, unless the posterior is of another model."""
        if hasattr(posterior, "predictive"):
            return posterior.predictive(self.apply)
        return self.apply


def turns(posterior: Posterior, key: KeyArray, num_samples: int) -> Turn:
    """All draws of a prediction, "samples", each in its turn."""
    return Turn(jax.random.split(key, num_samples), _points(posterior, key, num_samples))


def _points(
    posterior: Posterior, key: KeyArray, num_samples: int
) -> Float[Array, " samples"] | None:
    """Where to draw from a posterior of many members, ``(s + U) / S`` with one uniform U."""
    if not hasattr(posterior, "member"):
        return None
    # Away from the ends, lest rounding takes a point into its neighbour's interval.
    margin = min(2 * num_samples * float(jnp.finfo(jnp.float32).eps), 0.5)
    key_offset = jax.random.fold_in(key, num_samples)  # `split` gives other keys
    offset = jax.random.uniform(key_offset, minval=margin, maxval=1 - margin)
    return (jnp.arange(num_samples) + offset) / num_samples


def check_apply(apply: Any, name: str, wanted: str) -> None:
    """Refuses anything but a function ``apply(variables, x)``, such as the net itself.

    Raises:
        InputError: Naming the argument, and what it must be.
    """
    if not callable(apply) or hasattr(apply, "apply"):
        raise InputError(f"`{name}` must be {wanted}, got a {type(apply).__name__}")
