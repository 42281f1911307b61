import numpy as np
import pytest
from matplotlib.colors import same_color

from jfractal.errors import InputError
from jfractal.viz import curves
from jfractal.viz.style import INK, PALETTE

STEPS = np.arange(1, 11)


def draw(series, **look):
    return curves(series, xlabel="epoch", ylabel="loss", **look)


def test_one_line_for_each_series_in_the_colour_of_its_column():
    series = {"column 2": (STEPS, 1 / STEPS), "whole net": (STEPS, 2 / STEPS)}
    (axes,) = draw(series).axes
    for line, (name, (xs, ys)), colour in zip(axes.lines, series.items(), (PALETTE[1], INK)):
        np.testing.assert_array_equal(line.get_xydata(), np.stack([xs, ys], axis=1))
        assert line.get_label() == name and same_color(line.get_color(), colour)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")


def test_a_curve_that_runs_over_another_is_dashed():
    same = STEPS + 1e-4
    series = {"a": (STEPS, STEPS), "b": (STEPS, same), "c": (STEPS, -STEPS), "d": (STEPS, same)}
    (axes,) = draw(series).axes
    solid, dashed, other, dotted = (line.get_linestyle() for line in axes.lines)
    assert solid == other == "-" and dashed == dotted == "--"
    assert axes.lines[1]._unscaled_dash_pattern != axes.lines[3]._unscaled_dash_pattern
    far = draw({"a": (STEPS, STEPS), "b": (STEPS[:-1], STEPS[:-1])}).axes[0]
    assert {line.get_linestyle() for line in far.lines} == {"-"}  # ends elsewhere, and is seen


@pytest.mark.parametrize("logy", [False, True])
def test_labels_stand_in_the_order_of_the_ends_without_overlap(collisions, logy):
    series = {f"series {i}": (STEPS, 1 / STEPS + 1e-3 * i) for i in range(8)}
    figure = draw(series, logy=logy)
    (axes,) = figure.axes
    assert not collisions(figure, axes.texts)
    heights = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert sorted(series, key=heights.__getitem__) == list(series)
    assert axes.get_yscale() == ("log" if logy else "linear")


def test_a_label_without_neighbours_is_level_with_its_end(render):
    figure = draw({"a": (STEPS, STEPS), "b": (STEPS, -STEPS)})
    render(figure)
    (axes,) = figure.axes
    for text, end in zip(sorted(axes.texts, key=lambda text: text.get_text()), (10.0, -10.0)):
        pixels = text.get_transform().transform(text.get_position())
        assert pixels[1] == pytest.approx(axes.transData.transform((0.0, end))[1], abs=0.5)


def test_values_that_are_not_finite_leave_a_gap():
    (axes,) = draw({"a": ([1, 2, 3], [1.0, np.nan, np.inf])}).axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1.0, np.nan, np.nan])
    assert axes.lines[0].get_marker() == "o"  # a lone point is no line


def test_errors_are_a_band_around_the_line():
    mean, error = np.array([1.0, 2.0, 4.0]), np.array([0.5, 0.0, 1.0])
    (axes,) = draw({"a": ([1, 2, 3], mean, error), "b": ([1, 2, 3], mean)}).axes
    (band,) = axes.collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices}
    edges = np.concatenate([mean - error, mean + error])
    assert corners == set(zip([1.0, 2.0, 3.0] * 2, edges))
    assert same_color(band.get_facecolor()[0, :3], axes.lines[0].get_color())
    assert axes.get_ylim()[1] >= 5


def test_bad_inputs():
    with pytest.raises(InputError, match="must hold from 1"):
        draw({})
    with pytest.raises(InputError, match=r"'a'.*\(2,\).*\(1,\)"):
        draw({"a": ([1, 2], [1.0])})
    with pytest.raises(InputError, match=r"'a'.*errors.*\(2,\).*\(2,\).*\(1,\)"):
        draw({"a": ([1, 2], [1.0, 1.0], [1.0])})
    with pytest.raises(InputError, match=r"'a'.*errors of at least 0"):
        draw({"a": ([1, 2], [1.0, 1.0], [1.0, -1.0])})
    with pytest.raises(InputError, match=r"'a'.*finite"):
        draw({"a": ([1], [np.nan])})
    with pytest.raises(InputError, match=r"'a'.*positive"):
        draw({"a": ([1], [-1.0])}, logy=True)
