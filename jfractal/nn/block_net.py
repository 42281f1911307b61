"""The net of all architectures: blocks with a pool after each, then a dense head."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from math import prod

import flax.linen as nn
import jax.numpy as jnp

from jfractal import ops, topology
from jfractal.arguments import as_array, check_flags, check_fraction, described
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.nn.block import Block, DropPathPer
from jfractal.nn.dtypes import Typed
from jfractal.nn.fitting import fitting
from jfractal.nn.initializers import KernelInit, aligned, he
from jfractal.nn.units import Unit
from jfractal.typing import Array, Logits

__all__ = ["BlockNet", "Columns", "example_shape"]

Columns = int | tuple[int | None, ...] | None
"""The column that runs alone: one for all blocks, or one for each; None joins all columns."""

PAPERS = {"sum": "he2016", "concat": "huang2017"}
"""The papers behind joins, by their kind, in blocks without columns."""


class BlockNet(Typed):
    """A stack of blocks, each an expression followed by a max-pool by 2, and a dense head.

    Parameters: ``block{i}/<unit>/…`` and ``head``. Collections: ``batch_stats`` with norm
    ``batch``. Rng streams: ``posterior`` (Gaussian weights), ``drop_path``, ``dropout``.

    Attributes:
        num_classes: Number of outputs.
        blocks: The expression of each block.
        widths: Channels that each unit of a block emits, block by block.
        dropout: Dropout rate of each block.
        unit: Makes a unit, ``unit(features, dropout=..., kernel_init=..., name=...)``.
        dense: Layer of the head and of projections: `nn.Dense`, `BayesDense`, or a partial of one.
        drop_path_per: Whether local drop-path draws once for the ``batch`` (as the authors do) or
            for each ``example``.
        kernel_init: ``he``, or ``aligned``: all columns start as nearly the same function.
        lone: The column to run if `__call__` gets none, see `column`.
        remat: Whether gradients recompute the inside of units instead of storing it.
        dtype: Type of the computation and of the logits, e.g. ``jnp.bfloat16``, see `Typed`.
        param_dtype: Type of the weights, see `Typed`.
    """

    num_classes: int
    blocks: tuple[topology.Expr, ...]
    widths: tuple[int, ...]
    dropout: tuple[float, ...]
    unit: Callable[..., Unit]
    dense: Callable[..., nn.Module] = nn.Dense
    drop_path_per: DropPathPer = "batch"
    kernel_init: KernelInit = "he"
    lone: Columns = None
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        x: Array,
        *,
        train: bool = False,
        column: Columns = None,
        drop_path: float = 0.0,
    ) -> Logits:
        """Maps examples to logits.

        Args:
            x: Images "batch height width channels", sequences "batch length channels" or features
                "batch features", float.
            train: Whether to use and update batch statistics, and to drop activations.
            column: Run this column alone in every block (global drop-path; any-depth prediction).
                A tuple gives one column for each block, or None for a block that runs joined.
            drop_path: Probability of dropping a join input (local drop-path), in [0, 1].

        Returns:
            Logits, "batch classes".

        Raises:
            InputError: If the images are too small for the number of blocks, there is no such
                column, or `drop_path` is out of range.
        """
        x = jnp.asarray(as_array("x", x))
        if x.ndim < 2 or not x.size:
            raise InputError(
                f"`x` must have the axes `batch *space channels`, none of them empty, got {x.shape}"
            )
        self._check_space(x.shape[1:-1])
        check_flags(train=train)
        check_fraction(drop_path=drop_path)
        columns = self.lone_columns(column)
        with fitting(self, "x", x):
            for i, (expr, lone) in enumerate(zip(self.blocks, columns, strict=True)):
                block = self._block(i, expr)
                x = ops.max_pool(block(x, train=train, column=lone, drop_path=drop_path))
            head = self.dense(self.num_classes, name="head", **self.dtypes)
            return head(x.mean(axis=range(1, x.ndim - 1)))

    def _block(self, i: int, expr: topology.Expr) -> Block:
        shared = self.kernel_init == "aligned" and self.is_initializing()
        unit = partial(
            self.unit,
            dropout=self.dropout[i],
            kernel_init=aligned(self.make_rng("params")) if shared else he,
        )
        return Block(
            expr,
            self.widths[i],
            unit,
            partial(self.dense, use_bias=False),
            self.drop_path_per,
            self.remat,
            name=f"block{i + 1}",
            **self.dtypes,
        )

    def column(self, column: Columns) -> "BlockNet":
        """The net that runs one column of every block, with the same parameters.

        Args:
            column: A column, or a tuple with one for each block, or None if the block runs joined.

        Returns:
            A net that takes the variables of this one.

        Raises:
            InputError: If there is no such column.
        """
        self.lone_columns(column)
        return self.clone(lone=column)

    @property
    def columns(self) -> tuple[int, ...]:
        """The columns that every block has."""
        return tuple(
            sorted(set.intersection(*(set(topology.columns(expr)) for expr in self.blocks)))
        )

    @property
    def references(self) -> tuple[str, ...]:
        """BibTeX keys of the papers behind its blocks, see `jf.citation`."""
        if any(topology.columns(expr) for expr in self.blocks):
            return ("larsson2017",)
        joins = {kind for expr in self.blocks for kind in topology.join_kinds(expr)}
        return tuple(PAPERS[kind] for kind in PAPERS if kind in joins)

    def depth(self, *, column: Columns = None) -> int:
        """Number of units on the longest path through the net, or through one of its columns."""
        return sum(
            topology.depth(expr if lone is None else topology.restrict(expr, column=lone))
            for expr, lone in zip(self.blocks, self.lone_columns(column))
        )

    def lone_columns(self, column: Columns = None) -> tuple[int | None, ...]:
        """The column that runs alone in each block, or None if the block runs joined.

        Args:
            column: A column, or a tuple with one for each block, or None if the block runs joined.

        Raises:
            InputError: If there is no such column.
        """
        column = self.lone if column is None else column
        columns = column if isinstance(column, tuple) else (column,) * len(self.blocks)
        if len(columns) != len(self.blocks):
            raise InputError(
                f"`column` must be one column, or one for each of {len(self.blocks)} blocks, got "
                f"{described(column)}"
            )
        for expr, lone in zip(self.blocks, columns):
            known = lone is None or (type(lone) is int and lone in topology.columns(expr))
            if not known:
                raise InputError(
                    f"`column` must be one of {topology.columns(expr)}, got {described(column)}"
                )
        return columns

    def project(self, channels: int) -> "BlockNet":
        """The net with explicit projections in its blocks, which `__call__` otherwise adds.

        Args:
            channels: Channels of the input.

        Returns:
            A net that takes the variables of this one. A net without projections stays as it is.
        """
        check_counts(channels=channels)
        blocks = zip(self.blocks, self._channels(channels), self.widths)
        return self.clone(blocks=tuple(topology.project(*block) for block in blocks))

    def _check_space(self, space: Sequence[int]):
        smallest = 2 ** len(self.widths)
        if min(space, default=smallest) < smallest:
            raise InputError(
                f"`x` must be at least {smallest} pixels long along each axis for "
                f"{len(self.widths)} blocks with a pool by 2 each, got {'×'.join(map(str, space))}"
            )

    def _channels(self, channels: int) -> list[int]:
        """Channels in front of each block and behind the last, given those of the input."""
        channels_of = lambda n, block: topology.channels(block[0], n, block[1])
        return [*accumulate(zip(self.blocks, self.widths), channels_of, initial=channels)]

    def unit_flops(
        self, shape: Sequence[int], *, column: Columns = None
    ) -> dict[str, dict[str, int]]:
        """Floating-point operations of one example's forward pass, by block and unit.

        A multiply-add of a linear layer counts as two, summed over all uses of a tied unit.

        Args:
            shape: (height, width, channels) of one image, or (length, channels), or (features,).
            column: Count this column alone, as for `__call__`.

        Returns:
            ``{"block1": {"column1_unit1": ..., ...}, ...}``, for all units that run, projections
            included: the units of ``project(channels)``.

        Raises:
            InputError: As for `__call__`.
        """
        *space, channels = example_shape(shape)
        self._check_space(space)
        blocks = self.project(channels).blocks
        flops: dict[str, dict[str, int]] = {}
        for i, (expr, lone, inputs, width) in enumerate(
            zip(blocks, self.lone_columns(column), self._channels(channels), self.widths), start=1
        ):
            unit = self.unit(width, parent=None)
            counts: Counter[str] = Counter()
            for node, n in topology.unit_channels(expr, inputs, width, column=lone):
                is_projection = isinstance(node, topology.Projection)
                macs = n * width if is_projection else unit.macs(n, len(space))
                counts[node.name] += 2 * prod(space) * macs
            flops[f"block{i}"] = dict(counts)
            space = [size // 2 for size in space]
        return flops

    def num_flops(self, shape: Sequence[int], *, column: Columns = None) -> int:
        """Floating-point operations of one example's forward pass: linear layers and head.

        A multiply-add counts as two. A fractal block of C columns of 3×3 convolutions at width m,
        on h×w maps with n input channels, takes ``2·9·h·w·(C·n·m + (2^C − 1 − C)·m²)``.

        Args:
            shape: Shape of one example: the spatial axes, and channels.
            column: Count this column alone, as for `__call__`.
        """
        blocks = self.unit_flops(shape, column=column).values()
        head = 2 * self._channels(shape[-1])[-1] * self.num_classes
        return sum(sum(units.values()) for units in blocks) + head

    def num_params(self, shape: Sequence[int]) -> int:
        """Number of weights; a Gaussian leaf counts as one, tied units count once.

        A fractal block of C columns of 3×3 convolutions at width m, with n input channels, has
        ``9·(C·n·m + (2^C − 1 − C)·m²)`` weights in kernels and ``2·(2^C − 1)·m`` in norms.

        Args:
            shape: Shape of one example: the spatial axes, whose lengths do not matter, and
                channels.
        """
        *space, channels = example_shape(shape)
        *inputs, last = self._channels(channels)
        total = (last + 1) * self.num_classes
        for expr, n, width in zip(self.project(channels).blocks, inputs, self.widths):
            unit = self.unit(width, parent=None)
            for node, n_unit in dict(topology.unit_channels(expr, n, width)).items():
                is_projection = isinstance(node, topology.Projection)
                total += n_unit * width if is_projection else unit.num_params(n_unit, len(space))
            kinds = zip(topology.join_kinds(expr), topology.join_sizes(expr))
            total += sum(size for how, size in kinds if how == "convex")
        return total


def example_shape(shape: Sequence[int]) -> Sequence[int]:
    """The shape of an example."""
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not shape:
        raise InputError(
            f"`shape` must be that of one example, such as (32, 32, 3), got {described(shape)}"
        )
    for size in shape:
        check_counts(shape=size)
    return shape
