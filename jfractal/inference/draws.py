"""The last draws of a Markov chain, kept on the device as a part of its state."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfractal.concrete import concrete
from jfractal.typing import Array, Int, PyTree

__all__ = ["Draws"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Draws:
    """A ring buffer: draw i is written to slot i modulo its length, over the draw there before.

    Attributes:
        slots: A tree with a leading axis of draws.
        num_warmup: Steps before the first draw counts.
        thinning: Steps from one draw to the next.
    """

    slots: Any
    num_warmup: int = field(metadata={"static": True})
    thinning: int = field(metadata={"static": True})

    @classmethod
    def of(cls, tree: PyTree, num_draws: int, num_warmup: int, thinning: int) -> "Draws":
        """An empty buffer for trees like this one."""
        slots = jax.tree.map(lambda x: jnp.stack([x] * num_draws), tree)
        return cls(slots, num_warmup, thinning)

    @property
    def length(self) -> int:
        """How many draws are kept."""
        return jax.tree.leaves(self.slots)[0].shape[0]

    def count(self, step: Int[Array, ""]) -> Int[Array, ""]:
        """How many draws have been made after a step."""
        return jnp.maximum(step - self.num_warmup, 0) // self.thinning

    def after(self, step: Int[Array, ""], tree: PyTree) -> "Draws":
        """The buffer after a step that led to `tree`, which may be a draw."""
        is_draw = (step > self.num_warmup) & ((step - self.num_warmup) % self.thinning == 0)
        slot = (self.count(step) - 1) % self.length
        put = lambda old, x: old.at[slot].set(jnp.where(is_draw, x, old[slot]))
        return Draws(jax.tree.map(put, self.slots, tree), self.num_warmup, self.thinning)

    def kept(self, step: Int[Array, ""], tree: PyTree) -> PyTree:
        """The draws, oldest first, or just `tree` before the first draw.

        Under `jit` the result always has as many draws as the buffer has slots; if there are fewer,
        they are repeated.
        """
        count, length = self.count(step), self.length
        now = jax.tree.map(lambda old, x: jnp.where(count > 0, old, x[None]), self.slots, tree)
        known = concrete(count)
        if known is not None and known.ndim == 0:
            number = int(np.clip(known, 1, length))
            order = (max(int(known) - length, 0) + np.arange(number)) % length
        else:
            oldest = jnp.maximum(count - length, 0)
            order = (oldest + jnp.arange(length) % jnp.clip(count, 1, length)) % length
        return jax.tree.map(lambda x: x[order], now)
