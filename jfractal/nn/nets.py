"""Nets: a stack of blocks, each an expression, with a pool after each and one dense layer."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args

import flax.linen as nn

from jfractal import ops, topology
from jfractal.errors import InputError
from jfractal.nn.bayes import BayesConv, BayesDense, Conv
from jfractal.nn.block import Block, DropPathPer
from jfractal.nn.initializers import KernelInit, aligned, he
from jfractal.nn.norms import get_norm
from jfractal.nn.units import ConvUnit
from jfractal.typing import Images, Logits

__all__ = ["BlockNet", "FractalNet", "PlainNet"]


class BlockNet(nn.Module):
    """Blocks of one expression at growing width, 2×2 max-pooling after each, a dense head.

    Parameters: ``block{i}/<unit>/…`` and ``head``. Collections: ``batch_stats`` with norm
    ``batch``. Rng streams: ``posterior`` (Gaussian weights), ``drop_path``, ``dropout``.

    Attributes:
        num_classes: Number of outputs.
        block: The expression of every block.
        widths: Channels of each block.
        dropout: Dropout rate of each block.
        conv: Convolution of the units: `Conv`, `BayesConv`, or a partial of one.
        dense: Layer of the head: `nn.Dense`, `BayesDense`, or a partial of one.
        norm: ``batch``, ``frn``, ``group`` or ``none``.
        drop_path_per: Whether local drop-path draws once for the ``batch`` (as the authors do) or
            for each ``example``.
        kernel_init: ``he``, or ``aligned``: all columns start as nearly the same function.
    """

    num_classes: int
    block: topology.Expr
    widths: tuple[int, ...]
    dropout: tuple[float, ...]
    conv: Callable[..., nn.Module] = Conv
    dense: Callable[..., nn.Module] = nn.Dense
    norm: str = "batch"
    drop_path_per: DropPathPer = "batch"
    kernel_init: KernelInit = "he"

    @nn.compact
    def __call__(
        self,
        x: Images,
        *,
        train: bool = False,
        column: int | None = None,
        drop_path: float = 0.0,
    ) -> Logits:
        """Maps images to logits.

        Args:
            x: Images, "batch height width channels", float.
            train: Whether to use and update batch statistics, and to drop activations.
            column: Run this column alone in every block (global drop-path; any-depth prediction).
            drop_path: Probability of dropping a join input (local drop-path).

        Returns:
            Logits, "batch classes".

        Raises:
            InputError: If the images are too small for the number of blocks.
        """
        if min(x.shape[1:3]) < 2 ** len(self.widths):
            raise InputError(
                f"`x` must be at least {2 ** len(self.widths)} pixels high and wide for "
                f"{len(self.widths)} blocks with a 2×2 pool each, got {x.shape[1]}×{x.shape[2]}"
            )
        for i, (width, dropout) in enumerate(zip(self.widths, self.dropout, strict=True), start=1):
            shared = self.kernel_init == "aligned" and self.is_initializing()
            unit = partial(
                ConvUnit,
                features=width,
                conv=self.conv,
                norm=self.norm,
                dropout=dropout,
                kernel_init=aligned(self.make_rng("params")) if shared else he,
            )
            x = Block(self.block, unit, self.drop_path_per, name=f"block{i}")(
                x, train=train, column=column, drop_path=drop_path
            )
            x = ops.max_pool(x)
        return self.dense(self.num_classes, name="head")(x.mean(axis=(1, 2)))

    def num_flops(self, image_shape: Sequence[int], *, column: int | None = None) -> int:
        """Floating-point operations of one image's forward pass, convolutions and head.

        Two for each multiply-add; for a fractal block of C columns at width m on h×w maps with n
        input channels, ``2·9·h·w·(C·n·m + (2^C − 1 − C)·m²)``.

        Args:
            image_shape: (height, width, channels) of one image.
            column: Count this column alone.
        """
        expr = self.block if column is None else topology.restrict(self.block, column=column)
        height, width, channels = image_shape
        macs = 0
        for features in self.widths:
            inputs = sum(n for _, n in topology.unit_channels(expr, channels, features))
            macs += 9 * height * width * inputs * features
            height, width, channels = height // 2, width // 2, features
        return 2 * (macs + channels * self.num_classes)


def _block_net(
    block: topology.Expr,
    num_classes: int,
    *,
    widths: Sequence[int] = (64, 128, 256, 512, 512),
    dropout: float | Sequence[float] = 0.0,
    conv: Callable[..., nn.Module] = Conv,
    dense: Callable[..., nn.Module] | None = None,
    norm: str = "batch",
    drop_path_per: DropPathPer = "batch",
    kernel_init: KernelInit = "he",
) -> BlockNet:
    widths = tuple(widths)
    rates = (dropout,) * len(widths) if isinstance(dropout, int | float) else tuple(dropout)
    if num_classes < 1:
        raise InputError(f"`num_classes` must be at least 1, got {num_classes}")
    if not widths or min(widths) < 1:
        raise InputError(f"`widths` must be one or more positive numbers, got {widths}")
    if len(rates) != len(widths) or not all(0 <= rate < 1 for rate in rates):
        raise InputError(
            "`dropout` must be one rate in [0, 1), or one for each of "
            f"{len(widths)} blocks, got {dropout}"
        )
    if drop_path_per not in get_args(DropPathPer):
        raise InputError(
            f"`drop_path_per` must be one of {get_args(DropPathPer)}, got {drop_path_per!r}"
        )
    if kernel_init not in get_args(KernelInit):
        raise InputError(
            f"`kernel_init` must be one of {get_args(KernelInit)}, got {kernel_init!r}"
        )
    get_norm(norm)
    dense = dense or _dense_like(conv)
    return BlockNet(
        num_classes, block, widths, rates, conv, dense, norm, drop_path_per, kernel_init
    )


def _dense_like(conv: Any) -> Callable[..., nn.Module]:
    """The dense layer that goes with a convolution: Bayesian if it is, with the same posterior."""
    if isinstance(conv, partial):
        shared = {k: v for k, v in conv.keywords.items() if k in ("scale", "estimator", "dtype")}
        return partial(_dense_like(conv.func), **shared)
    return BayesDense if conv is BayesConv else nn.Dense


def FractalNet(num_classes: int, *, columns: int = 3, **options: Any) -> BlockNet:
    """FractalNet: B blocks of C columns, the longest path B·2^(C−1) convolutions.

    With the defaults and 32×32×3 images, the 20-layer net of the paper.

    Args:
        num_classes: Number of classes.
        columns: Columns C of every block.
        **options: ``widths`` (channels of each block), ``dropout`` (one rate, or one for each
            block), ``conv`` (`Conv`, `BayesConv` or a partial of one), ``dense`` (by default
            Bayesian if `conv` is), ``norm`` (``batch``, ``frn``, ``group``, ``none``),
            ``drop_path_per`` (``batch`` or ``example``), ``kernel_init`` (``he`` or ``aligned``).

    Returns:
        A Flax module, see `BlockNet`.

    Raises:
        InputError: If an argument is out of range.

    Source: Larsson, Maire & Shakhnarovich, ICLR 2017, §2 and §4.1.
    """
    return _block_net(topology.fractal(columns), num_classes, **options)


def PlainNet(num_classes: int, *, depth: int = 4, **options: Any) -> BlockNet:
    """The same net without joins: `depth` convolutions in each block.

    Args:
        num_classes: Number of classes.
        depth: Convolutions in each block.
        **options: As for `FractalNet`.
    """
    return _block_net(topology.plain(depth), num_classes, **options)
