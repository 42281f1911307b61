"""Pictures of architectures: any expression, and a net of such blocks."""

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D, Transform

from jfractal import topology
from jfractal.errors import InputError
from jfractal.topology import Expr, Unit
from jfractal.viz.layout import Layout, layout
from jfractal.viz.style import GREY, INK, PALETTE, styled

__all__ = ["net_structure", "structure"]

# In inches, which are also the data units of the axes.
LEVEL = 0.34
BOX_WIDTH, BOX_HEIGHT = 0.42, 0.19
BAR_HEIGHT = 0.13
GAP = 0.14  # between lanes
LEAD = 0.24  # of the wires into and out of a block
HEADER = 0.16
MARGIN = 0.06
POOL_LEAD = 0.4
NET_SCALE = 0.6
TEXT_SIZE = 6.5  # in points

PLAIN = "#d9dee4"
LIGHTEST = 0.15  # strength of a unit of weight 0
POOL = "#bbbbbb"
WIRE = "#666666"

# No dates: equal pictures are equal files.
_METADATA = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}


@styled
def structure(
    block: Expr,
    path: str | Path | None = None,
    *,
    rest: Expr | None = None,
    shades: Mapping[str, float] | None = None,
    palette: Sequence[str] = PALETTE,
) -> Figure:
    """Draws an expression: units as boxes, joins as bars over their inputs, from top to bottom.

    Units of a column share its colour and stand one below the other, the shallowest column on the
    left, with its number on top; units without a column carry their name. A bare line is a skip.

    Args:
        block: The expression.
        path: Where to write the picture too; the name ends in .svg, .pdf or .png.
        rest: What is left of `block` when paths are dropped, see `topology.restrict`; the units
            that are not in it are drawn hollow.
        shades: A number for each unit by name, at least 0, such as its FLOPs or its share of the
            activation: the darker a unit the larger its number. Units left out are hollow.
        palette: Colours of the columns, taken in turn.

    Returns:
        The figure, as large as its content.

    Raises:
        InputError: If `block` is no expression, `shades` names units that it lacks, or `path` has
            another suffix.

    Source: Larsson, Maire & Shakhnarovich, "FractalNet", ICLR 2017, figure 1.
    """
    picture = _picture(block)
    names = [box.unit.name for box in picture.boxes if box.unit.column is None]
    box_width = max([BOX_WIDTH, *(_text_width(name) + 0.1 for name in names)])
    lane = box_width + GAP
    first, last = picture.lanes
    header = HEADER if topology.columns(block) else 0.0
    figure, axes = _sheet(
        ((first - 0.5) * lane, (last + 0.5) * lane),
        (-LEAD - header, picture.height * LEVEL + LEAD),
    )
    pen = _Pen(
        axes,
        axes.transData,
        lane,
        box_width,
        _Colouring.make(block, palette, rest=rest, shades=shades),
    )
    pen.block(picture, LEAD)
    pen.arrow(picture.sink.middle, picture.height, LEAD)
    pen.column_numbers(picture, LEAD)
    for box in picture.boxes:
        if box.unit.column is None:
            pen.text(box.x, box.y, box.unit.name)
    for bar in picture.bars:
        pen.text(bar.span.middle, bar.span.y, bar.join.how, color="white")
    if path is not None:
        _save(figure, Path(path))
    return figure


@styled
def net_structure(
    block: Expr,
    widths: Sequence[int],
    path: str | Path | None = None,
    *,
    palette: Sequence[str] = PALETTE,
) -> Figure:
    """Draws a net of equal blocks, a pool after each, from left to right.

    Args:
        block: The expression of every block.
        widths: Channels of each block.
        path: Where to write the picture too; the name ends in .svg, .pdf or .png.
        palette: Colours of the columns, taken in turn.

    Returns:
        The figure, as large as its content.

    Raises:
        InputError: If `block` is no expression, `widths` is empty, or `path` has another suffix.
    """
    picture = _picture(block)
    if not widths:
        raise InputError("`widths` must hold the channels of at least one block, got none")
    lane = BOX_WIDTH + GAP
    first, last = picture.lanes
    period = picture.height * LEVEL + 2 * POOL_LEAD
    left, right = -POOL_LEAD - HEADER, len(widths) * period
    top, bottom = (first - 0.5) * lane - HEADER, (last + 0.5) * lane + HEADER
    figure, axes = _sheet((left, right), (top, bottom), scale=NET_SCALE)
    sideways = Affine2D.from_values(0, 1, 1, 0, 0, 0)
    places = [sideways + Affine2D().translate(i * period, 0.0) for i in range(len(widths))]
    colouring = _Colouring.make(block, palette)
    pens = [_Pen(axes, place + axes.transData, lane, BOX_WIDTH, colouring) for place in places]
    pool = picture.height + POOL_LEAD / LEVEL
    for pen, width in zip(pens, widths):
        pen.block(picture, POOL_LEAD)
        pen.line((picture.sink.middle, picture.height), (picture.sink.middle, pool))
        pen.patch(first, last, pool, BAR_HEIGHT, POOL, "pool")
        pen.text(first - 0.5, picture.height / 2, f"{width} channels", va="bottom")
        pen.text(last + 0.5, pool, "pool", va="top")
    pens[0].column_numbers(picture, POOL_LEAD)
    pens[-1].arrow(picture.source.middle, pool, POOL_LEAD)
    if path is not None:
        _save(figure, Path(path))
    return figure


def _picture(block: Expr) -> Layout:
    if not isinstance(block, Expr):
        raise InputError(f"`block` must be an expression of jfractal.topology, got {block!r}")
    return layout(block)


def _text_width(text: str) -> float:
    # A screen rounds the width of each letter to its pixels, which is up to a tenth more.
    return 1.1 * TextPath((0, 0), text, size=TEXT_SIZE).get_extents().width / 72


def _sheet(
    x: tuple[float, float], y: tuple[float, float], *, scale: float = 1.0
) -> tuple[Figure, Axes]:
    left, right, top, bottom = x[0] - MARGIN, x[1] + MARGIN, y[0] - MARGIN, y[1] + MARGIN
    figure = Figure(figsize=((right - left) * scale, (bottom - top) * scale))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(left, right), ylim=(bottom, top))
    return figure, axes


def _save(figure: Figure, path: Path):
    """Writes beside the target and renames: a reader finds the whole picture or the old one."""
    if path.suffix not in _METADATA:
        raise InputError(f"`path` must end in {', '.join(_METADATA)}, got {str(path)!r}")
    part = path.with_name(f".{path.name}.part")
    try:
        figure.savefig(part, format=path.suffix[1:], metadata=_METADATA[path.suffix], dpi=300)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Colouring:
    """Colours of units: by column, hollow if dropped, paler if of less weight."""

    palette: Sequence[str]
    kept: Set[str]
    strength: Mapping[str, float]

    @classmethod
    def make(
        cls,
        block: Expr,
        palette: Sequence[str],
        *,
        rest: Expr | None = None,
        shades: Mapping[str, float] | None = None,
    ) -> "_Colouring":
        names = set(topology.units(block))
        if unknown := set(shades or ()) - names:
            unknown = ", ".join(sorted(unknown))
            raise InputError(f"`shades` must name units of `block`, got {unknown}")
        kept = names if rest is None else set(topology.units(rest))
        strength = dict.fromkeys(names, 1.0)
        if shades is not None:
            top = max([*shades.values(), 0.0]) or 1.0
            # The lightest shade is still a colour: only what is dropped is hollow.
            strength = {name: LIGHTEST + (1 - LIGHTEST) * n / top for name, n in shades.items()}
            kept = kept & set(shades)
        return cls(palette, kept, strength)

    def of(self, unit: Unit) -> str | tuple[float, ...]:
        if unit.name not in self.kept:
            return "none"
        colour, strength = to_rgb(self.column(unit.column)), self.strength[unit.name]
        return tuple(1 - strength * (1 - c) for c in colour)

    def column(self, column: int | None) -> str:
        return PLAIN if column is None else self.palette[(column - 1) % len(self.palette)]


@dataclass(frozen=True)
class _Pen:
    """Draws layouts; `transform` takes inches across and along the flow to the screen."""

    axes: Axes
    transform: Transform
    lane: float
    box_width: float
    colouring: _Colouring

    def block(self, picture: Layout, lead: float):
        source = picture.source
        self.line((source.middle, -lead / LEVEL), (source.middle, 0.0))
        self.line((source.left, 0.0), (source.right, 0.0))
        for wire in picture.wires:
            self.line(*wire)
        for unit, x, y in picture.boxes:
            self.patch(x, x, y, BOX_HEIGHT, self.colouring.of(unit), f"unit {unit.name}")
        for join, span in picture.bars:
            self.patch(span.left, span.right, span.y, BAR_HEIGHT, INK, f"join {join.how}")

    def column_numbers(self, picture: Layout, lead: float):
        lanes: dict[int, float] = {}
        for unit, x, _ in picture.boxes:
            if unit.column is not None:
                lanes.setdefault(unit.column, x)
        for column, x in lanes.items():
            y = -(lead + HEADER / 2) / LEVEL
            self.text(x, y, str(column), color=self.colouring.column(column), weight="bold")

    def line(self, *points: tuple[float, float]):
        xs, ys = zip(*((x * self.lane, y * LEVEL) for x, y in points))
        self.axes.plot(xs, ys, color=WIRE, lw=0.9, zorder=1, transform=self.transform)

    def arrow(self, x: float, start: float, length: float):
        """From `start`, given in levels, on for `length` inches."""
        end = start + length / LEVEL
        self.line((x, start), (x, end - 0.1))
        x, y = x * self.lane, end * LEVEL
        head = [(x - 0.03, y - 0.08), (x + 0.03, y - 0.08), (x, y)]
        self.axes.add_patch(Polygon(head, facecolor=WIRE, transform=self.transform))

    def patch(self, left: float, right: float, y: float, height: float, colour: Any, label: str):
        is_hollow = colour == "none"
        box = FancyBboxPatch(
            (left * self.lane - self.box_width / 2, y * LEVEL - height / 2),
            (right - left) * self.lane + self.box_width,
            height,
            boxstyle="round,pad=0,rounding_size=0.03",
            facecolor="white" if is_hollow else colour,
            edgecolor=GREY,
            linewidth=0.7 if is_hollow else 0.0,
            linestyle="dotted",
            label=label,
            transform=self.transform,
            zorder=2,
        )
        self.axes.add_patch(box)

    def text(self, x: float, y: float, text: str, **look):
        look = {"ha": "center", "va": "center", "fontsize": TEXT_SIZE} | look
        self.axes.text(x * self.lane, y * LEVEL, text, transform=self.transform, zorder=3, **look)
