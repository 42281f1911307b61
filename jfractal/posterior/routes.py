"""The route leaf: a distribution over routes through a net, in the same tree as the weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jfractal.arguments import as_array, check_type
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.storage import storable
from jfractal.typing import Array, Float, Scalar

__all__ = ["Routes"]


@storable
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Routes:
    """A categorical distribution over the routes of a net, ``π = softmax(logits)``.

    It is a leaf of the tree of weights, ``{**params, "routes": Routes.uniform(3)}``, and is
    inferred with them, see ``routes="learned"`` of `fractal_model`. It adds ``−KL(π ‖ uniform)`` to
    the log prior of the tree and its KL to `kl`, whatever the prior of the weights. Nets, `sample`,
    `mean` and `mean_field` ignore it.

    Attributes:
        logits: Log probabilities up to a constant, "routes".
    """

    # `Any`, for JAX rebuilds trees with shapes and other stand-ins where arrays were.
    logits: Any

    @classmethod
    def of(cls, probs: Sequence[float] | Float[ArrayLike, " routes"]) -> "Routes":
        """The distribution with these probabilities.

        Raises:
            InputError: If `probs` is empty, a probability is not above 0, or they do not sum to 1.
        """
        p = np.asarray(as_array("probs", probs), np.float64)
        if p.ndim != 1 or not p.size or not (p > 0).all() or abs(p.sum() - 1) > 1e-5:
            raise InputError(
                f"`probs` must be one or more numbers above 0 that sum to 1, got {probs}"
            )
        return cls(jnp.asarray(np.log(p), jnp.result_type(float)))

    @classmethod
    def uniform(cls, num_routes: int) -> "Routes":
        """Equal probabilities. Over columns, this is the prior of global drop-path.

        Raises:
            InputError: If `num_routes` is smaller than 1.
        """
        check_counts(num_routes=num_routes)
        return cls.of(np.full(num_routes, 1 / num_routes))  # known under `jit`, too

    @property
    def log_probs(self) -> Float[Array, " routes"]:
        """Log probabilities, in nats."""
        return jax.nn.log_softmax(self.logits)

    @property
    def probs(self) -> Float[Array, " routes"]:
        """The probabilities π."""
        return jax.nn.softmax(self.logits)

    def kl(self, prior: "Routes | None" = None) -> Scalar:
        """``KL(π ‖ p) = Σ_r π_r log(π_r / p_r)``, in nats.

        Args:
            prior: The distribution p. By default, uniform.
        """
        prior = Routes.uniform(len(self.logits)) if prior is None else prior
        check_type("prior", prior, Routes, "a distribution over routes, a `Routes`")
        return (self.probs * (self.log_probs - prior.log_probs)).sum()
