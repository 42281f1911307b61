import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from jfractal.topology import (
    Identity,
    Join,
    Seq,
    Unit,
    dense,
    doubly_recursive,
    fractal,
    plain,
    project,
    residual,
    restrict,
)

EXPRESSIONS = {
    "unit": Unit("u"),
    "identity": Identity(),
    "plain": plain(6),
    "residual": residual(3),
    **{f"fractal{columns}": fractal(columns) for columns in range(1, 6)},
    "restricted": restrict(fractal(3), alive=[[False, True], [True, True, True]]),
    "tied": Seq((Unit("u"), Unit("u"), Join((Unit("u"), Identity()), "sum"))),
    "dense": dense(3),
    "nested": fractal(4, nested=True),
    "doubly recursive": doubly_recursive(3),
    "doubly recursive, tied": doubly_recursive(3, tied=True),
    **{how: fractal(3, how=how) for how in ("sum", "concat", "max", "convex")},
    "projected": project(residual(2), 3, 16),
    "inception": Seq(
        (
            Unit("stem"),
            Join(
                (
                    Unit("conv1x1"),
                    Seq((Unit("reduce"), Unit("conv3x3_with_a_long_name"))),
                    Join((Unit("a"), Seq((Unit("b"), Join((Unit("c"), Identity())))))),
                    Identity(),
                ),
                "concat",
            ),
            Unit("out"),
        )
    ),
}


@pytest.fixture(params=EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
def expr(request):
    return request.param


@pytest.fixture
def render():
    """Draws a figure, as saving it would, and returns the renderer."""

    def draw(figure):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return canvas.get_renderer()

    return draw


@pytest.fixture
def collisions(render):
    """Pairs of texts that overlap, and texts that are cut off at the edge of the figure."""

    def find(figure, texts):
        renderer = render(figure)
        boxes = {text: text.get_window_extent(renderer) for text in texts}
        width, height = figure.get_size_inches() * figure.dpi
        cut = [
            text.get_text()
            for text, box in boxes.items()
            if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
        ]
        pairs = [
            (one.get_text(), other.get_text())
            for i, one in enumerate(texts)
            for other in texts[i + 1 :]
            if boxes[one].overlaps(boxes[other])
        ]
        return pairs + cut

    return find
