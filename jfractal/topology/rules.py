"""Rules: functions that return an expression."""

from collections import Counter

from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.topology.expression import Expr, How, Identity, Join, Seq, Unit, check_how

__all__ = ["dense", "doubly_recursive", "fractal", "plain", "residual"]

# Beyond these an expression has more units than can be written down, let alone trained.
MOST_UNITS, MOST_COLUMNS, MOST_LEVELS = 10_000, 16, 10


def plain(num_units: int) -> Expr:
    """A chain of units: ``u_n ∘ … ∘ u_1``."""
    check_counts(most=MOST_UNITS, num_units=num_units)
    return Seq(tuple(Unit(f"unit{i}") for i in range(1, num_units + 1)))


def fractal(columns: int, *, how: How = "mean", nested: bool = False) -> Expr:
    """FractalNet's expansion rule.

    ``f_1 = unit``, ``f_{C+1}(x) = join[unit(x), (f_C ∘ f_C)(x)]``. The block has 2^C − 1 units;
    column c has 2^(c−1) of them, named ``column{c}_unit{k}``. Column 1 is the shallowest.

    Args:
        columns: Number of columns C.
        how: Kind of the joins.
        nested: Whether joins that end at the same place stay separate, as in the formula read
            literally: a mean of two at every level, which halves the weight of a path at every
            join. By default, they merge into a flat join that weighs its inputs equally, as in the
            paper's figure and code. The mean length of a path is (C + 1)/2 units if nested, and
            (2^C − 1)/C if flat.

    Returns:
        The expression of one block.

    Raises:
        InputError: If `columns` is not from 1 to 16, or `how` is unknown.

    Source: Larsson, Maire & Shakhnarovich, "FractalNet", ICLR 2017, eq. 1 and figure 1.
    """
    check_counts(most=MOST_COLUMNS, columns=columns)
    _check_flag(nested=nested)
    check_how(how)
    count: Counter[int] = Counter()

    def unit(column: int) -> Unit:
        count[column] += 1
        return Unit(f"column{column}_unit{count[column]}", column)

    def grow(column: int) -> Expr:
        if column == columns:
            return unit(column)
        return Join((unit(column), Seq((grow(column + 1), grow(column + 1), *fence))), how)

    fence = (Identity(),) if nested else ()
    return grow(1)


def doubly_recursive(levels: int, *, tied: bool = False, how: How = "mean") -> Expr:
    """The expansion rule that recurses on both sides of the join.

    ``G_1 = unit``, ``G_n(x) = join[R(x), L₂(L₁(x))]`` with R, L₁, L₂ each a G_{n−1}. It applies
    units 3^(n−1) times. Untied, these are 3^(n−1) different units. Tied, L₁ and L₂ are one
    function, which leaves 2^(n−1) units. With ``how="concat"``, this is a block often found in
    tutorials, ``F_n = concat(F_{n−1}(F_{n−1}(x)), F_{n−1}(x))``. It has no columns and is not
    FractalNet, whose R is a single unit.

    Args:
        levels: Number of levels n.
        tied: Whether L₁ and L₂ share their weights.
        how: Kind of the joins.

    Returns:
        The expression of one block.

    Raises:
        InputError: If `levels` is not from 1 to 10, or `how` is unknown.
    """
    check_counts(most=MOST_LEVELS, levels=levels)
    _check_flag(tied=tied)
    check_how(how)

    def grow(level: int, name: str) -> Expr:
        if level == 1:
            return Unit(f"unit{name}")
        first, second = ("l", "l") if tied else ("l1", "l2")
        left = Seq((grow(level - 1, name + first), grow(level - 1, name + second)))
        return Join((grow(level - 1, name + "r"), left), how)

    return grow(levels, "")


def dense(num_units: int) -> Expr:
    """A dense block: every unit reads the input and the outputs of all units before it.

    ``x_{i+1} = concat[x_i, u_i(x_i)]``. With m input channels, the output has m + n·growth
    channels, where the growth is the number of channels that one unit emits.

    Source: Huang, Liu, van der Maaten & Weinberger, "Densely connected convolutional networks",
    CVPR 2017, eq. 2.
    """
    check_counts(most=MOST_UNITS, num_units=num_units)
    return Seq(
        tuple(Join((Identity(), Unit(f"unit{i}")), "concat") for i in range(1, num_units + 1))
    )


def residual(num_blocks: int, *, units_per_block: int = 2) -> Expr:
    """A chain of residual blocks: ``x + (u_k ∘ … ∘ u_1)(x)``.

    Args:
        num_blocks: Number of blocks.
        units_per_block: Number k of units in each block.

    Returns:
        The expression of the chain.

    Source: He, Zhang, Ren & Sun, "Deep residual learning", CVPR 2016, eq. 1.
    """
    check_counts(most=MOST_UNITS, num_blocks=num_blocks, units_per_block=units_per_block)

    def block(i: int) -> Expr:
        chain = tuple(Unit(f"block{i}_unit{k}") for k in range(1, units_per_block + 1))
        return Join((Seq(chain), Identity()), "sum")

    return Seq(tuple(block(i) for i in range(1, num_blocks + 1)))


def _check_flag(**flags: bool) -> None:
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise InputError(f"`{name}` must be True or False, got {flag!r}")
