import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import same_color

from jfractal import topology
from jfractal.errors import InputError
from jfractal.topology import Join, Seq, Unit, fractal, plain, residual
from jfractal.viz import net_structure, structure
from jfractal.viz.style import PALETTE


def patches(figure, kind):
    (axes,) = figure.axes
    return [patch for patch in axes.patches if patch.get_label().startswith(kind)]


def corners(patch):
    x, y = patch.get_x(), patch.get_y()
    return x, y, x + patch.get_width(), y + patch.get_height()


def test_one_box_for_every_application_of_a_unit(expr):
    drawn = [patch.get_label() for patch in patches(structure(expr), "unit")]
    assert drawn == [f"unit {node.name}" for node, _ in topology.unit_channels(expr, 1, 1)]


def test_one_bar_for_every_join_with_a_line_for_every_input(expr):
    figure = structure(expr)
    ends = [(line.get_xdata()[-1], line.get_ydata()[-1]) for line in figure.axes[0].lines]
    sizes = []
    for bar in patches(figure, "join"):
        left, top, right, bottom = corners(bar)
        sizes.append(sum(left < x < right and top < y < bottom for x, y in ends))
    assert tuple(sizes) == topology.join_sizes(expr)


def test_boxes_do_not_overlap(expr):
    boxes = [corners(patch) for patch in patches(structure(expr), "unit")]
    for i, (left, top, right, bottom) in enumerate(boxes):
        for x0, y0, x1, y1 in boxes[i + 1 :]:
            assert right < x0 or x1 < left or bottom < y0 or y1 < top


def test_labels_do_not_overlap_and_are_not_cut_off(expr, collisions):
    figure = structure(expr)
    assert not collisions(figure, figure.axes[0].texts)


def test_names_fit_their_boxes(render):
    figure = structure(Seq((Unit("u"), Unit("a_rather_long_name_of_a_unit"))))
    renderer = render(figure)
    for text, box in zip(figure.axes[0].texts, patches(figure, "unit")):
        inner, outer = text.get_window_extent(renderer), box.get_window_extent(renderer)
        assert outer.x0 < inner.x0 and inner.x1 < outer.x1
        assert outer.y0 < inner.y0 and inner.y1 < outer.y1


def test_units_have_the_colour_of_their_column_and_its_number_on_top():
    figure = structure(fractal(3))
    for patch in patches(figure, "unit"):
        column = int(patch.get_label().removeprefix("unit column").split("_")[0])
        assert same_color(patch.get_facecolor(), PALETTE[column - 1])
    numbers = [text for text in figure.axes[0].texts if text.get_text().isdigit()]
    assert [text.get_text() for text in sorted(numbers, key=lambda t: t.get_position())] == list(
        "123"
    )


def test_dropped_units_are_hollow():
    block = fractal(3)
    figure = structure(block, rest=topology.restrict(block, column=2))
    for patch in patches(figure, "unit"):
        is_kept = patch.get_label().startswith("unit column2")
        assert same_color(patch.get_facecolor(), PALETTE[1]) == is_kept
        assert same_color(patch.get_facecolor(), "white") != is_kept


def test_shades_follow_the_numbers():
    block = fractal(3)
    costs = {"column1_unit1": 0.0, "column3_unit1": 5.0, "column3_unit2": 10.0}
    figure = structure(block, shades=costs)
    faces = {patch.get_label()[5:]: patch.get_facecolor() for patch in patches(figure, "unit")}
    assert same_color(faces["column3_unit2"], PALETTE[2])
    half, none = (np.array(faces[f"column{c}_unit1"][:3]).mean() for c in (3, 1))
    assert np.mean(faces["column3_unit2"][:3]) < half < none < 1
    assert same_color(faces["column2_unit1"], "white")
    with pytest.raises(InputError, match="`shades` must name units of `block`, got nobody"):
        structure(block, shades={"nobody": 1.0})


def test_palette_is_taken_in_turn():
    figure = structure(fractal(3), palette=("red", "blue"))
    colours = {patch.get_label()[5:12]: patch.get_facecolor() for patch in patches(figure, "unit")}
    assert same_color(colours["column1"], "red") and same_color(colours["column3"], "red")
    assert same_color(colours["column2"], "blue")


def test_joins_say_how():
    expr = Join((Unit("a"), Seq((Join((Unit("b"), Unit("c")), "concat"), Unit("d")))), "sum")
    texts = {text.get_text() for text in structure(expr).axes[0].texts}
    assert texts == {"a", "b", "c", "d", "concat", "sum"}


def test_one_inch_is_one_unit_of_the_axes():
    figure = structure(fractal(3))
    (axes,) = figure.axes
    size = [abs(np.subtract(*axes.get_xlim())), abs(np.subtract(*axes.get_ylim()))]
    np.testing.assert_allclose(figure.get_size_inches(), size)


@pytest.mark.parametrize("draw", [structure, lambda *args: net_structure(args[0], (4,), args[1])])
def test_files(tmp_path, draw):
    draw(fractal(2), tmp_path / "block.svg")
    draw(fractal(2), str(tmp_path / "block.png"))
    draw(fractal(2), tmp_path / "block.pdf")
    assert ElementTree.parse(tmp_path / "block.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "block.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "block.pdf").read_bytes().startswith(b"%PDF")
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_equal_pictures_are_equal_files(tmp_path, suffix):
    for name in "ab":
        structure(fractal(2), tmp_path / (name + suffix))
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "block.png"
    path.write_bytes(b"old")

    def interrupted(figure, part, **kwargs):
        part.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", interrupted)
    with pytest.raises(KeyboardInterrupt):
        structure(plain(1), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_settings_of_the_caller_are_untouched():
    before = dict(matplotlib.rcParams)
    structure(fractal(2))
    assert dict(matplotlib.rcParams) == before


def test_net_repeats_the_block(collisions):
    block, widths = fractal(3), (64, 128, 256)
    figure = net_structure(block, widths)
    assert len(patches(figure, "unit")) == 3 * len(topology.units(block))
    assert len(patches(figure, "join")) == 3 * len(topology.join_sizes(block))
    assert len(patches(figure, "pool")) == 3
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert [text for text in texts if text.endswith("channels")] == [
        f"{width} channels" for width in widths
    ]


@pytest.mark.parametrize("block", [fractal(1), fractal(4), plain(3), residual(2)])
def test_labels_of_a_net_do_not_overlap(block, collisions):
    figure = net_structure(block, (64, 128, 256, 512, 1024))
    assert not collisions(figure, figure.axes[0].texts)


def test_a_net_flows_from_left_to_right(render):
    figure = net_structure(plain(2), (4, 4))
    renderer = render(figure)
    boxes = [patch.get_window_extent(renderer) for patch in patches(figure, "unit")]
    assert [box.x0 for box in boxes] == sorted({box.x0 for box in boxes})
    assert np.ptp([box.y0 for box in boxes]) == pytest.approx(0.0, abs=1e-6)


def test_bad_inputs(tmp_path):
    with pytest.raises(InputError, match=r"`block`.*fractal"):
        structure("fractal")
    with pytest.raises(InputError, match="`block`"):
        net_structure(3, (4,))
    with pytest.raises(InputError, match="`widths`"):
        net_structure(plain(1), ())
    with pytest.raises(InputError, match=r"`path`.*\.svg.*block\.jpg"):
        structure(plain(1), tmp_path / "block.jpg")
    assert not list(tmp_path.iterdir())
