import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import jax
import matplotlib
import numpy as np
import pytest
from matplotlib.colors import same_color

from jfractal import topology
from jfractal.errors import InputError
from jfractal.inference import sub_networks
from jfractal.nn import DenseNet, FractalNet, PlainNet, ResNet, block_net
from jfractal.posterior import Point
from jfractal.topology import Join, Seq, Unit, doubly_recursive, fractal, plain
from jfractal.viz import structure
from jfractal.viz.style import PALETTE

MIXED = (fractal(3), topology.residual(2), topology.dense(2), doubly_recursive(3), fractal(2))
NETS = {
    **{f"fractal{columns}": FractalNet(10, columns=columns) for columns in range(1, 6)},
    "column": FractalNet(10).column(2),
    "columns": FractalNet(10).column((1, None, 3, 2, None)),
    "plain": PlainNet(10),
    "residual": ResNet(10).project(3),
    "dense": DenseNet(10, widths=(1024, 12)),
    "concat": block_net(fractal(3, how="concat"), 10),
    "mixed": FractalNet(10).clone(blocks=MIXED),
}


def patches(figure, kind):
    (axes,) = figure.axes
    return [patch for patch in axes.patches if patch.get_label().startswith(kind)]


def corners(patch):
    x, y = patch.get_x(), patch.get_y()
    return x, y, x + patch.get_width(), y + patch.get_height()


def drawn_names(expr):
    return [node.name for node, _ in topology.unit_channels(expr, 1, 1)]


def test_one_box_for_every_application_of_a_unit(expr):
    drawn = [patch.get_label() for patch in patches(structure(expr), "unit")]
    assert drawn == [f"unit {name}" for name in drawn_names(expr)]


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


def hollow(figure):
    return [
        patch.get_label()[5:]
        for patch in patches(figure, "unit")
        if same_color(patch.get_facecolor(), "white")
    ]


def test_what_is_dropped_is_hollow():
    block = fractal(3)
    figure = structure(block, column=2)
    assert not any(name.startswith("column2") for name in hollow(figure))
    assert len(hollow(figure)) == 5
    assert hollow(structure(block, alive=[[True, False], [False, True, True]])) == [
        "column1_unit1",
        "column3_unit1",
        "column3_unit2",
    ]


def test_one_use_of_a_tied_unit_may_be_dropped():
    block = doubly_recursive(2, tied=True)  # of unitr, and unitl twice
    figure = structure(Seq((block, block)), alive=[[True, False], [True, True]])
    assert hollow(figure) == ["unitl", "unitl"]


def test_shades_follow_the_numbers():
    block = fractal(3)
    costs = {"column1_unit1": 0.0, "column3_unit1": 5.0, "column3_unit2": 10.0}
    figure = structure(block, shades=costs)
    faces = {patch.get_label()[5:]: patch.get_facecolor() for patch in patches(figure, "unit")}
    assert same_color(faces["column3_unit2"], PALETTE[2])
    half, none = (np.array(faces[f"column{c}_unit1"][:3]).mean() for c in (3, 1))
    assert np.mean(faces["column3_unit2"][:3]) < half < none < 1
    assert same_color(faces["column2_unit1"], "white")
    with pytest.raises(InputError, match=r"`shades` must name units .*, got nobody"):
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


@pytest.mark.parametrize("architecture", [fractal(2), PlainNet(3, depth=1, widths=(4,))])
def test_files(tmp_path, architecture):
    structure(architecture, tmp_path / "block.svg")
    structure(architecture, str(tmp_path / "block.png"))
    structure(architecture, tmp_path / "block.pdf")
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


# Nets


def test_a_net_is_its_blocks_with_a_pool_after_each():
    net = NETS["mixed"]
    figure = structure(net)
    names = [name for expr in MIXED for name in drawn_names(expr)]
    assert [patch.get_label()[5:] for patch in patches(figure, "unit")] == names
    joins = sum(len(topology.join_sizes(expr)) for expr in MIXED)
    assert len(patches(figure, "join")) == joins and len(patches(figure, "pool")) == 5
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert [text for text in texts if text.endswith("channels")] == [
        f"{width} channels" for width in net.widths
    ]
    assert [text for text in texts if text.isdigit()] == ["1", "2", "3"]


@pytest.mark.parametrize("net", NETS.values(), ids=NETS.keys())
def test_labels_of_a_net_do_not_overlap(net, collisions):
    figure = structure(net)
    assert not collisions(figure, figure.axes[0].texts)
    assert figure.get_size_inches()[0] < 11  # longer nets take several rows


def test_a_net_flows_from_left_to_right(render):
    figure = structure(PlainNet(3, depth=2, widths=(4, 4)))
    renderer = render(figure)
    boxes = [patch.get_window_extent(renderer) for patch in patches(figure, "unit")]
    assert [box.x0 for box in boxes] == sorted({box.x0 for box in boxes})
    assert np.ptp([box.y0 for box in boxes]) == pytest.approx(0.0, abs=1e-6)


def test_a_long_net_goes_on_below(render):
    figure = structure(NETS["fractal5"])
    renderer = render(figure)
    pools = [patch.get_window_extent(renderer) for patch in patches(figure, "pool")]
    assert np.ptp([pool.x0 for pool in pools]) == pytest.approx(0.0, abs=1e-6)
    assert all(above.y0 > below.y1 for above, below in pairwise(pools))


def test_columns_of_a_net_that_do_not_run_are_hollow():
    net = FractalNet(10, widths=(4, 4))
    for figure in (structure(net.column((1, None))), structure(net, column=(1, None))):
        assert hollow(figure) == [name for name in drawn_names(fractal(3)) if "column1" not in name]


def test_a_sub_network_is_drawn_as_it_was_drawn():
    net = FractalNet(3, columns=2, widths=(4, 4))
    drawn = sub_networks(net, Point({}), rate=0.9).sample(jax.random.key(0))["drop_path"]
    first, second = (drawn[f"block{i}"]["join1"] for i in (1, 2))
    dropped = [
        name
        for one, two in (first, second)
        for name, alive in zip(drawn_names(fractal(2)), (one, two, two))
        if not alive
    ]
    assert dropped and hollow(structure(net, alive=drawn)) == dropped


def test_shades_of_a_net_are_comparable_across_blocks():
    net = ResNet(3, depth=2, widths=(4, 8)).project(3)
    flops = net.unit_flops((8, 8, 3))
    figure = structure(net, shades=flops)
    darkness = [1 - np.mean(patch.get_facecolor()[:3]) for patch in patches(figure, "unit")]
    numbers = [
        flops[f"block{i}"][name]
        for i, expr in enumerate(net.blocks, start=1)
        for name in drawn_names(expr)
    ]
    np.testing.assert_allclose(np.corrcoef(darkness, numbers)[0, 1], 1.0, rtol=1e-6)
    with pytest.raises(InputError, match="got block1/nobody, block3/block1_unit1"):
        structure(net, shades={"block1": {"nobody": 1}, "block3": {"block1_unit1": 1}})


def test_bad_inputs(tmp_path):
    net = FractalNet(3, columns=2, widths=(4,))
    with pytest.raises(InputError, match=r"`architecture`.*fractal"):
        structure("fractal")
    with pytest.raises(InputError, match=r"`path`.*\.svg.*block\.jpg"):
        structure(plain(1), tmp_path / "block.jpg")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"units of equal name are one layer, but .* differ"):
        structure(Join((Unit("a", 1), Unit("a", 2))))
    for architecture in (fractal(2), net):
        with pytest.raises(InputError, match=r"`column` must be one of \(1, 2\), got 3"):
            structure(architecture, column=3)
    with pytest.raises(InputError, match=r"`alive` must hold one flag for each join input \(2,\)"):
        structure(fractal(2), alive=[[True]])
    with pytest.raises(InputError, match=r"`alive` must hold one flag for each join input \(2,\)"):
        structure(net, alive={"block1": {"join2": [True, False]}})
    with pytest.raises(InputError, match="`alive` of a net must be flags by block and join"):
        structure(net, alive=[[True, False]])
    with pytest.raises(InputError, match="no path from input to output is left"):
        structure(net, alive={"block1": {"join1": [False, False]}})
