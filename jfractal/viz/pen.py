"""Drawing of a layout: boxes, bars, lines and text, in the colours of the columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch, Polygon
from matplotlib.transforms import Transform

from jfractal.viz.layout import Box, Layout
from jfractal.viz.style import GREY, INK

__all__ = ["BAR_HEIGHT", "HEADER", "LEVEL", "TEXT_SIZE", "Colouring", "Pen"]

# In inches, which are also the data units of the axes.
LEVEL = 0.34
BOX_HEIGHT = 0.19
BAR_HEIGHT = 0.13
HEADER = 0.16  # of column numbers and labels

TEXT_SIZE = 6.5  # in points

PLAIN, SHADED = "#d9dee4", "#8fa3b8"  # of units without a column
WIRE, DEAD_WIRE = "#666666", "#d0d0d0"
HOLLOW = "none"


@dataclass(frozen=True)
class Colouring:
    """Colours of units: by column, hollow if dropped, paler for less strength.

    Attributes:
        palette: Colours of the columns, taken in turn.
        strength: Strength of each unit by name, from 0 (white) to 1; all other units are hollow.
            None gives all units the strength 1.
    """

    palette: Sequence[str]
    strength: Mapping[str, float] | None

    def of(self, box: Box) -> str | tuple[float, ...]:
        """The colour of one application of a unit."""
        if not box.is_live:
            return HOLLOW
        colour = self.column(box.unit.column)
        if self.strength is None:
            return colour
        if box.unit.name not in self.strength:
            return HOLLOW
        strength = self.strength[box.unit.name]
        return tuple(strength * c + (1 - strength) for c in to_rgb(colour))

    def column(self, column: int | None) -> str:
        """The colour of a column at full strength."""
        if column is None:
            return PLAIN if self.strength is None else SHADED
        return self.palette[(column - 1) % len(self.palette)]


@dataclass(frozen=True)
class Pen:
    """Draws layouts, in lanes and levels.

    Attributes:
        axes: Axes to draw on.
        transform: Maps inches across and along the flow to the screen.
        lane: Distance between lanes, in inches.
        box_width: Width of a box, in inches.
        colouring: Colours of the units.
    """

    axes: Axes
    transform: Transform
    lane: float
    box_width: float
    colouring: Colouring

    def block(self, picture: Layout, lead: float, **look: Any):
        """Draws a picture and `lead` inches of wire before it; `look` styles the text on bars."""
        self.line((picture.source.middle, -lead / LEVEL), (picture.source.middle, 0.0))
        for wire in picture.wires:
            self.line(*wire.points, is_live=wire.is_live)
        for box in picture.boxes:
            name = f"unit {box.unit.name}"
            self.patch(box.x, box.x, box.y, BOX_HEIGHT, self.colouring.of(box), name)
        for join, span in picture.bars:
            colour, ink = (INK, "white") if span.is_live else (HOLLOW, GREY)
            self.patch(span.left, span.right, span.y, BAR_HEIGHT, colour, f"join {join.how}")
            self.text(span.middle, span.y, join.how, color=ink, **look)

    def column_numbers(self, pictures: Sequence[Layout], lead: float):
        """Writes the column numbers in front of the columns."""
        lanes: dict[int, float] = {}
        for unit, x, *_ in chain.from_iterable(picture.boxes for picture in pictures):
            if unit.column is not None:
                lanes.setdefault(unit.column, x)
        for column, x in lanes.items():
            y = -(lead + HEADER / 2) / LEVEL
            self.text(x, y, str(column), color=self.colouring.column(column), weight="bold")

    def line(self, *points: tuple[float, float], is_live: bool = True):
        """Draws a polyline, below all boxes."""
        xs, ys = zip(*((x * self.lane, y * LEVEL) for x, y in points))
        colour, order = (WIRE, 1.0) if is_live else (DEAD_WIRE, 0.9)
        self.axes.plot(xs, ys, color=colour, lw=0.9, zorder=order, transform=self.transform)

    def arrow(self, x: float, start: float, length: float):
        """Draws an arrow of `length` inches from `start`, which is in levels."""
        end = start + length / LEVEL
        self.line((x, start), (x, end - 0.1))
        x, y = x * self.lane, end * LEVEL
        head = [(x - 0.03, y - 0.08), (x + 0.03, y - 0.08), (x, y)]
        self.axes.add_patch(Polygon(head, facecolor=WIRE, transform=self.transform))

    def patch(self, left: float, right: float, y: float, height: float, colour: Any, label: str):
        """Draws a box over the lanes from `left` to `right`."""
        is_hollow = colour == HOLLOW
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

    def text(self, x: float, y: float, text: str, **look: Any):
        """Writes a text, centred at the point unless `look` says otherwise."""
        look = {"ha": "center", "va": "center_baseline", "fontsize": TEXT_SIZE} | look
        self.axes.text(x * self.lane, y * LEVEL, text, transform=self.transform, zorder=3, **look)
