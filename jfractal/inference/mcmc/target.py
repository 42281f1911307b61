"""The target of chains: the log joint of all data, summed in chunks so that memory is bounded."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jfractal import ops
from jfractal.inference.batch import Batch, batch_size
from jfractal.inference.mcmc.parts import Parts
from jfractal.inference.model import Model
from jfractal.typing import Array, Bool, Scalar

__all__ = ["Target", "chunk_size"]

Leaves = list[Array]


@dataclass(frozen=True)
class Target:
    """``(log p(D | w) + log p(w)) / T`` in nats, as a function of the weights that move.

    Attributes:
        model: Likelihood and prior.
        parts: Which weights move.
        temperature: T.
        chunk: Examples that go through the net at once.
    """

    model: Model
    parts: Parts
    temperature: float
    chunk: int

    def log_joint(self, moving: Leaves, still: Leaves, data: Batch) -> Scalar:
        """The log joint, which is differentiated only in the weights that move."""
        params = self.parts.joined(moving, still)["params"]
        log_prior = self.model.prior.tree_log_prob(params)
        return (self._log_likelihood(moving, still, data) + log_prior) / self.temperature

    def _log_likelihood(self, moving: Leaves, still: Leaves, data: Batch) -> Scalar:
        if batch_size(data) <= self.chunk:
            variables = self.parts.joined(moving, still)
            return self.model.log_likelihood(variables, data).sum()
        return _summed(self.of_chunk, self.chunk)(moving, still, data)

    def of_chunk(
        self, moving: Leaves, still: Leaves, chunk: Batch, counted: Bool[Array, " examples"]
    ) -> Scalar:
        """The log likelihood of the examples of a chunk that are counted."""
        values = self.model.log_likelihood(self.parts.joined(moving, still), chunk)
        return jnp.where(counted, values, 0).sum()


def _summed(function: Callable[..., Scalar], size: int) -> Callable[..., Scalar]:
    """``Σ function(moving, still, chunk, counted)`` over chunks of the data.

    For the gradient, each chunk goes forward and backward before the next one starts. Only its
    gradient is kept, and no chunk is computed twice.
    """
    with_slope = jax.value_and_grad(function)

    @jax.custom_vjp
    def total(moving: Leaves, still: Leaves, data: Batch) -> Scalar:
        return _sum_chunks(lambda *chunk: function(moving, still, *chunk), data, size)

    def forward(moving: Leaves, still: Leaves, data: Batch) -> tuple[Scalar, Leaves]:
        return _sum_chunks(lambda *chunk: with_slope(moving, still, *chunk), data, size)

    def backward(slope: Leaves, g: Scalar) -> tuple[Leaves, None, None]:
        return [(g * s).astype(s.dtype) for s in slope], None, None

    total.defvjp(forward, backward)
    return total


def _sum_chunks(function: Callable[..., Any], data: Batch, size: int) -> Any:
    """The sum over chunks; examples in the overlap of the last two chunks are counted once."""
    num_data = batch_size(data)

    def add(sums: Any, i: Array) -> tuple[Any, None]:
        first = jnp.minimum(i * size, num_data - size)
        chunk = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, first, size), data)
        counted = first + jnp.arange(size) >= i * size
        return jax.tree.map(jnp.add, sums, function(chunk, counted)), None

    chunk = jax.tree.map(lambda x: x[:size], data)
    shapes = jax.eval_shape(function, chunk, jnp.ones(size, bool))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return lax.scan(add, zeros, jnp.arange(ceil(num_data / size)))[0]


def chunk_size(target: Target, moving: Leaves, still: Leaves, data: Batch) -> int:
    """The largest chunk within `ops.memory_budget`, evenly filled.

    Args:
        target: The target to sample.
        moving: The leaves that move, with a leading axis over the chains of a device.
        still: The fixed leaves, with the same leading axis.
        data: All of the data.
    """
    num_data = batch_size(data)
    slope = jax.vmap(jax.value_and_grad(target.of_chunk), in_axes=(0, 0, None, None))

    def cost(size: int) -> int:
        chunk = jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), data)
        counted = jax.ShapeDtypeStruct((size,), bool)
        return ops.live_bytes(slope, moving, still, chunk, counted)

    return ops.largest_batch(cost, num_data)
