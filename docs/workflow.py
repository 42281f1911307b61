"""Draws docs/workflow.svg, the picture at the top of the README: `python docs/workflow.py`."""

from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from jfractal.viz.style import GREY, INK, PALETTE, styled

BLUE, ROSE, GREEN, SAND = PALETTE[:4]
STEPS = (
    ("Model", "net.apply\n+ prior\n+ likelihood", "Linen, NNX, Equinox,\nFractalNet, yours", BLUE),
    (
        "Method",
        "init\nupdate\nposterior",
        "MAP, ensemble, variational,\nIVON, SWAG, SGHMC, …",
        ROSE,
    ),
    ("fit", "batches\ndevices\ncheckpoints", "one loop for all,\nor a loop of your own", ROSE),
    ("Posterior", "sample\nmean\nsave", "of any method,\nor Laplace of a trained net", GREEN),
    ("predict", "probs\naleatoric\nepistemic", "many networks,\nvmapped", SAND),
)
WIDTH, HEIGHT, GAP = 1.5, 1.25, 0.32


@styled
def workflow(path: Path) -> None:
    """From a network to a prediction that says how sure it is, and how far it is from the truth."""
    figure = Figure(figsize=(9.2, 3.0), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.15, 9.05), ylim=(-1.53, 1.37))
    axes.axis("off")
    centres = [WIDTH / 2 + i * (WIDTH + GAP) for i in range(len(STEPS))]
    for x, (name, does, of, colour) in zip(centres, STEPS):
        box(axes, x, 0.65, HEIGHT, colour)
        axes.text(x, 1.08, name, ha="center", va="center", fontsize=11, weight="bold", color=INK)
        axes.text(x, 0.51, does, ha="center", va="center", linespacing=1.35)
        axes.text(x, -0.14, of, ha="center", va="top", fontsize=7, color=INK, linespacing=1.3)
    for left, right in pairwise(centres):
        arrow(axes, (left + WIDTH / 2 + 0.03, 0.65), (right - WIDTH / 2 - 0.03, 0.65))
    first, last = centres[0], centres[-1]
    middle = (centres[1] + centres[3]) / 2
    axes.text(middle, -1.02, "jf.nuts", ha="center", va="center", fontsize=11, weight="bold")
    axes.text(
        middle, -1.32, "the exact posterior of a small net: the yardstick", ha="center", fontsize=7
    )
    box(axes, middle, -1.12, 0.66, GREY, width=2 * WIDTH)
    arrow(axes, (first, -0.52), (middle - WIDTH - 0.03, -1.12), "angle,angleA=-90,angleB=180,rad=6")
    arrow(axes, (middle + WIDTH + 0.03, -1.12), (last, -0.52), "angle,angleA=0,angleB=-90,rad=6")
    axes.text(last - 0.1, -1.06, "jf.metrics.compare", ha="right", va="bottom", fontsize=7)
    figure.savefig(path, metadata={"Date": None})


def box(axes: Axes, x: float, y: float, height: float, colour: str, width: float = WIDTH) -> None:
    """A rounded box around a point."""
    corner = x - width / 2, y - height / 2
    axes.add_patch(
        FancyBboxPatch(
            corner,
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=to_rgba(colour, 0.14),
            edgecolor=colour,
            linewidth=1.2,
        )
    )


def arrow(axes: Axes, start: tuple, end: tuple, connection: str = "arc3") -> None:
    """An arrow from point to point."""
    style = {"arrowstyle": "-|>", "color": GREY, "connectionstyle": connection, "linewidth": 1.2}
    axes.annotate("", end, start, arrowprops=style)


if __name__ == "__main__":
    path = Path(__file__).with_suffix(".svg")
    workflow(path)
    print(path)
