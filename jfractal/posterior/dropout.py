"""Dropout as a distribution over weights: rows of kernels are kept or dropped."""

from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp

from jfractal.arguments import check_key
from jfractal.posterior.leaves import replace, select
from jfractal.posterior.posterior import Posterior
from jfractal.storage import storable
from jfractal.typing import Array, Bool, KeyArray, Params, Variables

__all__ = ["Dropout"]


@storable
@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Dropout(Posterior):
    """Each input of a kernel is dropped or kept, ``w_i = params_i · m_i / (1 − rate)``.

    ``m_i ~ Bernoulli(1 − rate)`` is one number for all weights of input i: a row of a dense kernel,
    an input channel of a convolution, a word of an embedding. A draw is one network for any number
    of examples. The model needs no dropout layer.

    Attributes:
        params: The tree of weights, before any is dropped or rescaled.
        rates: Probability of dropping an input, in [0, 1), by path. These leaves have at least two
            axes, and the last two are "inputs outputs". All other leaves are fixed.
        variables: Other collections that `apply` needs, e.g. ``{"batch_stats": ...}``.

    Source: Gal & Ghahramani, "Dropout as a Bayesian approximation", ICML 2016, eq. 2.
    """

    # `Any`, for JAX rebuilds trees with shapes and other stand-ins where arrays were.
    params: Params
    rates: Any
    variables: Variables = field(default_factory=dict)

    @property
    def references(self) -> tuple[str, ...]:
        """The BibTeX key of the paper on dropout as a posterior."""
        return ("gal2016",)

    def sample(self, key: KeyArray) -> Variables:
        """One draw of all masks, applied to the weights."""
        check_key("key", key)
        kernels = select(self.params, lambda path, _: path in self.rates)
        sizes = [kernel.shape[-2] for kernel in kernels.values()]
        # Drawn together: one by one they would compile for much longer.
        uniform = jax.random.uniform(key, (sum(sizes),))
        parts = jnp.split(uniform, list(accumulate(sizes[:-1])))
        draw = {
            path: _masked(kernel, part >= self.rates[path], self.rates[path])
            for (path, kernel), part in zip(kernels.items(), parts, strict=True)
        }
        return {"params": replace(self.params, draw), **self.variables}

    def mean(self) -> Params:
        """The weights, before any is dropped."""
        return self.params

    def variance(self) -> Params:
        """``params_i² · rate / (1 − rate)``; 0 where nothing is dropped."""
        zeros = jax.tree.map(jnp.zeros_like, self.params)
        kernels = select(self.params, lambda path, _: path in self.rates)
        odds = {path: self.rates[path] / (1 - self.rates[path]) for path in kernels}
        return replace(zeros, {path: w**2 * odds[path] for path, w in kernels.items()})


def _masked(kernel: Array, is_kept: Bool[Array, " inputs"], rate: Any) -> Array:
    column = is_kept.reshape(*(1,) * (kernel.ndim - 2), -1, 1)
    return jnp.where(column, kernel / (1 - rate), 0).astype(kernel.dtype)
