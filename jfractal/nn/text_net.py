"""A net over sequences of tokens."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jfractal.arguments import (
    as_array,
    check_functions,
    check_rate,
    check_type,
    check_values,
    described,
)
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.nn.block_net import BlockNet, Columns, example_shape
from jfractal.nn.dtypes import Typed
from jfractal.typing import Array, Int, Logits

__all__ = ["TextNet"]


class TextNet(Typed):
    """A net over sequences of tokens: an embedding, then convolutions along the sequence.

    Parameters: ``embedding``, and the parameters of `net` under ``net``. Rng streams: those of
    `net`.

    Attributes:
        net: The net that runs on the embedded sequence, e.g. ``FractalNet(2, widths=(64, 64,
            64))``.
        vocabulary_size: Number of distinct tokens.
        features: Size of an embedding.
        dropout: Probability of dropping a feature of an embedded token in training.
        embed: Layer of the embedding: `nn.Embed`, `BayesEmbed`, or a partial of one.
        dtype: Type of the computation and of the logits, also of `net`, see `Typed`.
        param_dtype: Type of the weights, also of `net`, see `Typed`.
    """

    net: BlockNet
    vocabulary_size: int
    features: int = 64
    dropout: float = 0.0
    embed: Callable[..., nn.Module] = nn.Embed

    def __post_init__(self):
        """Passes the types on to `net`."""
        check_type("net", self.net, BlockNet, "a net of blocks, such as `jf.FractalNet(2)`")
        check_counts(vocabulary_size=self.vocabulary_size, features=self.features)
        check_rate(dropout=self.dropout)
        check_functions(embed=self.embed)
        if self.dtypes:
            self.net = self.net.clone(**self.dtypes)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "batch length"], *, train: bool = False, **options: Any
    ) -> Logits:
        """Maps tokens to logits; takes the options of `BlockNet.__call__`."""
        tokens = jnp.asarray(as_array("tokens", tokens))
        if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise InputError(
                f"`tokens` must be integers with the axes `batch length`, got {described(tokens)}"
            )
        size = self.vocabulary_size
        check_values("tokens", tokens, f"in [0, {size})", lambda t: (t >= 0) & (t < size))
        x = self.embed(self.vocabulary_size, self.features, name="embedding", **self.dtypes)(tokens)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return self.net(x, train=train, **options)

    def column(self, column: Columns) -> "TextNet":
        """The net that runs one column of every block, see `BlockNet.column`."""
        return self.clone(net=self.net.column(column))

    @property
    def columns(self) -> tuple[int, ...]:
        """The columns that every block has."""
        return self.net.columns

    def depth(self, *, column: Columns = None) -> int:
        """Number of units on the longest path through the net, or through one of its columns."""
        return self.net.depth(column=column)

    def num_flops(self, shape: Sequence[int], *, column: Columns = None) -> int:
        """Floating-point operations of one text's forward pass; the embedding lookup is free.

        Args:
            shape: Shape of one text, (length,).
            column: Count this column alone, as for `__call__`.
        """
        return self.net.num_flops((*_length(shape), self.features), column=column)

    def num_params(self, shape: Sequence[int]) -> int:
        """Number of weights: the embedding table, and `BlockNet.num_params` of `net`.

        Args:
            shape: Shape of one text, (length,).
        """
        embedding = self.vocabulary_size * self.features
        return embedding + self.net.num_params((*_length(shape), self.features))


def _length(shape: Sequence[int]) -> Sequence[int]:
    if len(example_shape(shape)) != 1:
        raise InputError(f"`shape` must be that of one text, (length,), got {described(shape)}")
    return shape
