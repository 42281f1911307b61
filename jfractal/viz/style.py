"""The style of all pictures: colours, and settings that apply while a picture is made."""

from collections.abc import Iterable, Sequence
from io import BytesIO
from itertools import cycle
from re import fullmatch
from typing import Any

import matplotlib
from matplotlib.colors import is_color_like
from matplotlib.figure import Figure

from jfractal.arguments import described
from jfractal.errors import InputError

__all__ = [
    "GREY",
    "INK",
    "PALETTE",
    "WARNING",
    "InlineFigure",
    "check_palette",
    "colours",
    "styled",
]

INK = "#333333"
GREY = "#999999"
WARNING = "#cc3311"

PALETTE = (
    "#4477aa",
    "#cc6677",
    "#44aa99",
    "#ddaa33",
    "#aa4499",
    "#88ccee",
    "#999933",
    "#332288",
    "#882255",
    "#117733",
)
"""Colours of columns 1, 2, …: Paul Tol's palette for colour-blind readers."""

styled = matplotlib.rc_context(
    {
        "font.family": "DejaVu Sans",  # the font that matplotlib brings along
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.titlelocation": "left",
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "hatch.linewidth": 0.5,
        "legend.columnspacing": 1.2,
        "legend.frameon": False,
        "legend.handlelength": 1.4,
        "legend.handletextpad": 0.5,
        "lines.linewidth": 1.4,
        "lines.solid_capstyle": "round",
        "patch.linewidth": 0.0,
        "svg.hashsalt": "jfractal",  # equal pictures are equal files
        "text.color": INK,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
    }
)
"""Decorates a function that makes a figure, without changing the caller's settings."""


class InlineFigure(Figure):
    """A figure that a notebook shows even if `pyplot` was never imported."""

    def _repr_png_(self) -> bytes:
        picture = BytesIO()
        self.savefig(picture, format="png", bbox_inches="tight")
        return picture.getvalue()


def check_palette(palette: Any) -> None:
    """Refuses a palette that is not a sequence of matplotlib colours."""
    is_sequence = isinstance(palette, Sequence) and not isinstance(palette, str) and palette
    if not is_sequence or not all(map(is_color_like, palette)):
        raise InputError(f"`palette` must be at least one colour, got {described(palette)}")


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name: ink for ``whole net``, column c's for ``column c``, others in turn.

    Raises:
        InputError: If there are no names.
    """
    names = tuple(names)
    if not names:
        raise InputError("there is nothing to draw: the mapping is empty")
    fixed = {name: INK for name in names if name == "whole net"}
    for name in names:
        if match := fullmatch(r"column (\d+)", name):
            fixed[name] = PALETTE[(int(match[1]) - 1) % len(PALETTE)]
    free = cycle([colour for colour in PALETTE if colour not in fixed.values()] or PALETTE)
    return {name: fixed.get(name) or next(free) for name in names}
