"""Architectures by name: `BlockNet`s that differ only in the expression of their blocks.

An architecture is a rule plus a unit, and any rule can be combined with any unit.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args

import flax.linen as nn

from jfractal import topology
from jfractal.arguments import (
    check_choice,
    check_flags,
    check_functions,
    check_rate,
    described,
    naming,
)
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.nn.bayes import BayesConv, BayesDense, Conv
from jfractal.nn.block import DropPathPer
from jfractal.nn.block_net import BlockNet
from jfractal.nn.initializers import KernelInit
from jfractal.nn.norms import get_norm
from jfractal.nn.units import ConvUnit, Unit

__all__ = ["DenseNet", "FractalNet", "PlainNet", "ResNet", "block_net"]


def block_net(
    block: topology.Expr,
    num_classes: int,
    *,
    widths: Sequence[int] = (64, 128, 256, 512, 512),
    dropout: float | Sequence[float] = 0.0,
    conv: Callable[..., nn.Module] = Conv,
    unit: Callable[..., Unit] | None = None,
    dense: Callable[..., nn.Module] | None = None,
    norm: str = "batch",
    drop_path_per: DropPathPer = "batch",
    kernel_init: KernelInit = "he",
    remat: bool = False,
    dtype: Any = None,
    param_dtype: Any = None,
) -> BlockNet:
    """A net whose blocks run any expression.

    Args:
        block: The expression of every block: a rule of `topology`, or your own.
        num_classes: Number of classes.
        widths: Channels that each unit of a block emits, block by block.
        dropout: Dropout rate, or one rate for each block.
        conv: Convolution of the units: `Conv`, `BayesConv` or a partial of one.
        unit: `ConvUnit`, `SeparableUnit`, `DenseUnit` or a partial of one. By default, a `ConvUnit`
            with `conv`.
        dense: Layer of the head and of projections. By default, it is Bayesian if the units are,
            with the same settings.
        norm: ``batch``, ``frn``, ``group``, ``layer`` or ``none``, see `jfractal.nn.norms`.
        drop_path_per: Whether local drop-path draws once for the ``batch`` or for each ``example``.
        kernel_init: ``he``, or ``aligned`` to start all columns as nearly the same function.
        remat: Whether gradients recompute the inside of units, which takes less memory.
        dtype: Type of the computation and of the logits, e.g. ``jnp.bfloat16``. By default, the
            wider type of weights and input. Statistics are float32 or wider.
        param_dtype: Type of the weights. By default, float32.

    Returns:
        A Flax module, see `BlockNet`.

    Raises:
        InputError: If an argument is out of range, or two units in `block` with the same name
            differ.
    """
    check_counts(num_classes=num_classes)
    check_choice("drop_path_per", drop_path_per, get_args(DropPathPer))
    check_choice("kernel_init", kernel_init, get_args(KernelInit))
    check_flags(remat=remat)
    check_functions(conv=conv)
    check_functions(**{k: v for k, v in {"unit": unit, "dense": dense}.items() if v is not None})
    widths = _sequence("widths", widths)
    for width in widths:
        check_counts(widths=width)
    one_rate = isinstance(dropout, int | float)
    rates = (dropout,) * len(widths) if one_rate else _sequence("dropout", dropout)
    for rate in rates:
        check_rate(dropout=rate)
    if len(rates) != len(widths):
        raise InputError(
            f"`dropout` must be one rate, or one for each of {len(widths)} blocks, got {dropout}"
        )
    with naming("block"):
        topology.units(block)  # complains if a name stands for two layers
    get_norm(norm)
    unit = partial(unit or partial(ConvUnit, conv=conv), norm=norm)
    dense = dense or _dense_like(unit)
    blocks = (block,) * len(widths)
    return BlockNet(
        num_classes,
        blocks,
        widths,
        rates,
        unit,
        dense,
        drop_path_per,
        kernel_init,
        remat=remat,
        dtype=dtype,
        param_dtype=param_dtype,
    )


def _sequence(name: str, value: Any) -> tuple:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise InputError(f"`{name}` must be one or more numbers, got {described(value)}")
    return tuple(value)


def _dense_like(layer: Any) -> Callable[..., nn.Module]:
    """The dense layer that goes with a unit or convolution: if Bayesian, with the same settings."""
    if isinstance(layer, partial):
        inner = layer.keywords.get("dense") or layer.keywords.get("conv") or layer.func
        alike = ("scale", "estimator", "parameterisation", "dtype")
        shared = {k: v for k, v in layer.keywords.items() if k in alike}
        return partial(_dense_like(inner), **shared)
    return BayesDense if layer in (BayesConv, BayesDense) else nn.Dense


def FractalNet(num_classes: int, *, columns: int = 3, **options: Any) -> BlockNet:
    """FractalNet: B blocks of C columns, with B·2^(C−1) convolutions on the longest path.

    With the defaults and 32×32×3 images, this is the 20-layer net of the paper.

    Args:
        num_classes: Number of classes.
        columns: Number of columns C in every block.
        **options: Options of `block_net`: ``widths``, ``dropout``, ``conv``, ``unit``, ``dense``,
            ``norm``, ``drop_path_per``, ``kernel_init``, ``remat``, ``dtype``, ``param_dtype``.

    Returns:
        A Flax module, see `BlockNet`.

    Raises:
        InputError: If an argument is out of range.

    Source: Larsson, Maire & Shakhnarovich, ICLR 2017, §2 and §4.1.
    """
    return block_net(topology.fractal(columns), num_classes, **options)


def PlainNet(num_classes: int, *, depth: int = 4, **options: Any) -> BlockNet:
    """A net without joins: `depth` units in each block.

    Args:
        num_classes: Number of classes.
        depth: Number of units in each block.
        **options: Options of `block_net`.

    Returns:
        A Flax module, see `BlockNet`.
    """
    with naming("depth"):
        block = topology.plain(depth)
    return block_net(block, num_classes, **options)


def ResNet(num_classes: int, *, depth: int = 4, **options: Any) -> BlockNet:
    """A residual net: `depth` units in each block, a skip around every two.

    Args:
        num_classes: Number of classes.
        depth: Number of units in each block, an even number.
        **options: Options of `block_net`.

    Returns:
        A Flax module, see `BlockNet`.

    Raises:
        InputError: If an argument is out of range.

    Source: He et al., CVPR 2016; with units in the order ``pre``: He et al., ECCV 2016.
    """
    check_counts(2, depth=depth)
    if depth % 2:
        raise InputError(f"`depth` must be an even number of at least 2, got {depth}")
    with naming("depth"):
        block = topology.residual(depth // 2)
    return block_net(block, num_classes, **options)


def DenseNet(num_classes: int, *, depth: int = 4, **options: Any) -> BlockNet:
    """A densely connected net: each of the `depth` units of a block reads all units before it.

    The ``widths`` are growth rates: the channels that one unit adds.

    Args:
        num_classes: Number of classes.
        depth: Number of units in each block.
        **options: Options of `block_net`.

    Returns:
        A Flax module, see `BlockNet`.

    Source: Huang et al., CVPR 2017, without bottlenecks and compression.
    """
    with naming("depth"):
        block = topology.dense(depth)
    return block_net(block, num_classes, **options)
