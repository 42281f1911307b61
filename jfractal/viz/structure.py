"""Pictures of architectures: of any expression, and of any net of blocks."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from jfractal import topology
from jfractal.arguments import as_path, check_number, check_type, described
from jfractal.errors import InputError
from jfractal.nn.block_net import BlockNet, Columns
from jfractal.topology import Expr
from jfractal.viz.layout import Layout, layout
from jfractal.viz.pen import BAR_HEIGHT, HEADER, LEVEL, TEXT_SIZE, Colouring, Pen
from jfractal.viz.style import GREY, INK, PALETTE, InlineFigure, check_palette, styled

__all__ = ["structure"]

# In inches, which are also the data units of the axes.
BOX_WIDTH = 0.42
GAP = 0.14  # between lanes
LEAD = 0.24  # of the wires into and out of a block
MARGIN = 0.06
POOL_LEAD = 0.4
ROW_LENGTH = 14.0  # of a net, before it is scaled
NET_SCALE = 0.7

SMALL_TEXT_SIZE = 5.0  # in points
LIGHTEST = 0.15  # strength of a unit of weight 0
POOL = "#bbbbbb"

# No dates: equal pictures are equal files.
_METADATA = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}


@styled
def structure(
    architecture: Expr | BlockNet,
    path: str | Path | None = None,
    *,
    column: Columns = None,
    alive: Any = None,
    shades: Mapping[str, Any] | None = None,
    palette: Sequence[str] = PALETTE,
) -> Figure:
    """Draws an expression from top to bottom, or a net, block by block, from left to right.

    Units are boxes, joins are bars over their inputs, and a bare line is a skip. The units of a
    column have the same colour and stand in one line, the shallowest column first, with its number
    in front. In an expression, units without a column show their names. Dropped units and their
    lines are hollow.

    Args:
        architecture: An expression or a net. ``net.column(c)`` is drawn as with ``column=c``. To
            show projections, give ``net.project(channels)``.
        path: File to write the picture to as well, ending in .svg, .pdf or .png.
        column: The column that runs alone. For a net, it may be a tuple with one for each block.
        alive: Flags of the live inputs of each join: for an expression as in `topology.restrict`,
            for a net the collection ``drop_path`` of its variables, see `inference.sub_networks`.
        shades: A number of at least 0 for each unit, such as its FLOPs or its share of the
            activation: ``{unit: number}``, or for a net ``{"block1": {unit: number}, …}`` as from
            `BlockNet.unit_flops`. A larger number gives a darker unit. Units without a number are
            hollow.
        palette: Colours of the columns, taken in turn.

    Returns:
        The figure, as large as its content.

    Raises:
        InputError: If `architecture` is neither an expression nor a net, there is no such column,
            `alive` does not fit the joins, nothing is left to draw, `shades` names unknown units,
            or `path` has another suffix.

    Source: Larsson, Maire & Shakhnarovich, "FractalNet", ICLR 2017, figure 1.
    """
    path = None if path is None else _picture_path(path)
    check_palette(palette)
    if isinstance(architecture, BlockNet):
        blocks = {f"block{i}": expr for i, expr in enumerate(architecture.blocks, start=1)}
        columns = architecture.lone_columns(column)
        masks = [_masks(alive, name, expr) for name, expr in blocks.items()]
    elif isinstance(architecture, Expr):
        lone = cast(int | None, column)  # `layout` refuses a tuple
        blocks, columns, masks = {"": architecture}, [lone], [alive]
        shades = None if shades is None else {"": shades}
    else:
        raise InputError(
            "`architecture` must be an expression of jfractal.topology or a BlockNet, got "
            f"{described(architecture)}"
        )
    if shades is not None:
        check_type("shades", shades, Mapping, "numbers by the name of a unit")
    strengths = None if shades is None else _strengths(blocks, shades)
    drawn = [
        _Block(
            layout(expr, column=lone, alive=mask),
            Colouring(palette, None if strengths is None else strengths.get(name, {})),
        )
        for (name, expr), lone, mask in zip(blocks.items(), columns, masks)
    ]
    if isinstance(architecture, BlockNet):
        figure = _net_figure(drawn, architecture.widths)
    else:
        figure = _block_figure(*drawn)
    if path is not None:
        _save(figure, path)
    return figure


class _Block(NamedTuple):
    picture: Layout
    colouring: Colouring

    @property
    def length(self) -> float:
        """The length of the block in a net, from one pool to the next."""
        return self.picture.height * LEVEL + 2 * POOL_LEAD


def _masks(alive: Any, block: str, expr: Expr) -> list[Sequence[bool]] | None:
    """Flags of the live join inputs of a block, from the collection ``drop_path`` of a net."""
    if not (alive is None or isinstance(alive, Mapping)):
        raise InputError(f"`alive` of a net must be flags by block and join, got {alive!r}")
    if alive is None or block not in alive:
        return None
    num_joins = len(topology.join_sizes(expr))
    return [alive[block].get(f"join{j}", ()) for j in range(1, num_joins + 1)]


def _strengths(
    blocks: Mapping[str, Expr], shades: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Numbers as strengths of colour, with 1 for the largest number."""
    for units in shades.values():
        check_type("shades", units, Mapping, "numbers by the name of a unit")
        for unit, n in units.items():
            check_type("shades", unit, str, "numbers by the name of a unit")
            check_number("at least 0 and finite", lambda x: (x >= 0) & np.isfinite(x), shades=n)
    known = {(name, unit) for name, expr in blocks.items() for unit in topology.units(expr)}
    numbers = {(name, unit): n for name, units in shades.items() for unit, n in units.items()}
    if unknown := numbers.keys() - known:
        unknown = ", ".join(sorted("/".join(filter(None, names)) for names in unknown))
        raise InputError(f"`shades` must name units of the architecture, got {unknown}")
    top = max(numbers.values(), default=0.0) or 1.0
    # The lightest shade is still a colour: only what is dropped or left out is hollow.
    return {
        name: {unit: LIGHTEST + (1 - LIGHTEST) * n / top for unit, n in units.items()}
        for name, units in shades.items()
    }


def _block_figure(block: _Block) -> Figure:
    picture = block.picture
    names = [box.unit.name for box in picture.boxes if box.unit.column is None]
    box_width = max([BOX_WIDTH, *(_text_width(name) + 0.1 for name in names)])
    lane = box_width + GAP
    first, last = picture.lanes
    header = HEADER if len(names) < len(picture.boxes) else 0.0
    figure, axes = _sheet(
        ((first - 0.5) * lane, (last + 0.5) * lane),
        (-LEAD - header, picture.height * LEVEL + LEAD),
    )
    pen = Pen(axes, axes.transData, lane, box_width, block.colouring)
    pen.block(picture, LEAD)
    pen.arrow(picture.sink.middle, picture.height, LEAD)
    pen.column_numbers([picture], LEAD)
    for unit, x, y, is_live in picture.boxes:
        if unit.column is None:
            pen.text(x, y, unit.name, color=INK if is_live else GREY)
    return figure


def _net_figure(blocks: Sequence[_Block], widths: Sequence[int]) -> Figure:
    lane = BOX_WIDTH + GAP
    first = min(block.picture.lanes[0] for block in blocks)
    last = max(block.picture.lanes[1] for block in blocks)
    rows = _rows(blocks)
    height = (last - first + 1) * lane + 3 * HEADER
    top = (first - 0.5) * lane - HEADER
    right = max(sum(block.length for block in row) for row in rows)
    figure, axes = _sheet(
        (-POOL_LEAD - HEADER, right), (top, top + len(rows) * height - HEADER), scale=NET_SCALE
    )
    sideways = Affine2D.from_values(0, 1, 1, 0, 0, 0)
    labels = iter(f"{width} channels" for width in widths)
    for k, row in enumerate(rows):
        place = sideways + Affine2D().translate(0.0, k * height)
        for block in row:
            picture, x = block.picture, block.picture.sink.middle
            pool = picture.height + POOL_LEAD / LEVEL
            pen = Pen(axes, place + axes.transData, lane, BOX_WIDTH, block.colouring)
            pen.block(picture, POOL_LEAD, fontsize=SMALL_TEXT_SIZE, rotation=90, va="center")
            pen.line((x, picture.height), (x, pool))
            pen.patch(first, last, pool, BAR_HEIGHT, POOL, "pool")
            pen.text(first - 0.5, picture.height / 2, next(labels), va="bottom")
            pen.text(last + 0.5, pool, "pool", va="top")
            if block is row[0]:
                pen.column_numbers([block.picture for block in row], POOL_LEAD)
            if block is row[-1]:
                pen.arrow(x, pool, POOL_LEAD)
            place = place + Affine2D().translate(block.length, 0.0)
    return figure


def _rows(blocks: Sequence[_Block]) -> list[list[_Block]]:
    """The blocks in rows, as many in a row as fit."""
    rows: list[list[_Block]] = [[]]
    for block in blocks:
        if rows[-1] and sum(block.length for block in (*rows[-1], block)) > ROW_LENGTH:
            rows.append([])
        rows[-1].append(block)
    return rows


def _text_width(text: str) -> float:
    # A screen rounds the width of each letter to its pixels, which is up to a tenth more.
    return 1.1 * TextPath((0, 0), text, size=TEXT_SIZE).get_extents().width / 72


def _sheet(
    x: tuple[float, float], y: tuple[float, float], *, scale: float = 1.0
) -> tuple[Figure, Axes]:
    left, right, top, bottom = x[0] - MARGIN, x[1] + MARGIN, y[0] - MARGIN, y[1] + MARGIN
    figure = InlineFigure(figsize=((right - left) * scale, (bottom - top) * scale))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(left, right), ylim=(bottom, top))
    return figure, axes


def _picture_path(path: Any) -> Path:
    path = as_path("path", path)
    if path.suffix not in _METADATA:
        raise InputError(f"`path` must end in {', '.join(_METADATA)}, got {str(path)!r}")
    return path


def _save(figure: Figure, path: Path):
    """Writes a temporary file and renames it, so that a reader never sees half a picture."""
    part = path.with_name(f".{path.name}.part")
    try:
        figure.savefig(part, format=path.suffix[1:], metadata=_METADATA[path.suffix], dpi=300)
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"`path`: cannot write to {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
