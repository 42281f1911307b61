import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.patches import StepPatch

from jfractal.errors import InputError
from jfractal.metrics import ess, ess_tail, rhat
from jfractal.viz import ranks, traces
from jfractal.viz.style import PALETTE

RNG = np.random.default_rng(0)
DRAWS = {"log joint (nats)": RNG.normal(size=(4, 100)), "p(class 3)": RNG.uniform(size=(4, 50))}


def steps(axes):
    """Band, bars and expectation of a panel of ranks."""
    return [patch for patch in axes.patches if isinstance(patch, StepPatch)]


def test_lines_are_the_draws_in_the_colours_of_the_chains():
    for axes, chains in zip(traces(DRAWS).axes, DRAWS.values(), strict=True):
        for line, chain, colour in zip(axes.lines, chains, PALETTE):
            np.testing.assert_array_equal(line.get_ydata(), chain)
            np.testing.assert_array_equal(line.get_xdata(), np.arange(1, len(chain) + 1))
            assert same_color(line.get_color(), colour)


def test_titles_state_the_diagnostics():
    for axes, (name, x) in zip(traces(DRAWS).axes, DRAWS.items()):
        expected = f"R-hat {rhat(x):.3f}, ESS {ess(x):.0f} (bulk), {ess_tail(x):.0f} (tail)"
        assert axes.get_title(loc="left") == f"{name}: {expected}"


def test_each_chain_has_its_panel_of_ranks():
    figure = ranks(DRAWS)
    grid = np.reshape(figure.axes, (2, 4))
    assert [axes.get_title(loc="left") for axes in grid[0]] == [f"chain {i}" for i in range(1, 5)]
    assert [axes.get_ylabel() for axes in grid[:, 0]] == list(DRAWS)
    for row, chains in zip(grid, DRAWS.values()):
        bars = [steps(axes)[1].get_data() for axes in row]
        assert [data.values.sum() for data in bars] == [chains.shape[1]] * 4
        # Together the chains have every rank once.
        np.testing.assert_array_equal(sum(data.values for data in bars), chains.size / 20)


def test_ranks_are_those_among_all_chains():
    low, high = np.arange(40.0).reshape(2, 20)
    one, other = ranks({"x": [low, high]}, num_bins=4).axes
    np.testing.assert_array_equal(steps(one)[1].get_data().values, [10, 10, 0, 0])
    np.testing.assert_array_equal(steps(other)[1].get_data().values, [0, 0, 10, 10])


def test_independent_draws_stay_in_the_band_as_often_as_it_says():
    inside = []
    for axes in ranks({"a": RNG.normal(size=(8, 1003))}, num_bins=50).axes:
        band, bars, expected = (patch.get_data() for patch in steps(axes))
        inside.append((band.baseline <= bars.values) & (bars.values <= band.values))
        assert expected.values.sum() == pytest.approx(1003)
    # A count is whole, so the band holds a little more than 95 %.
    assert np.mean(inside) == pytest.approx(0.96, abs=0.04)


def test_labels_do_not_overlap(collisions):
    for figure in (traces(DRAWS), ranks(DRAWS)):
        titles = [axes.title for axes in figure.axes] + [axes._left_title for axes in figure.axes]
        texts = [text for text in titles if text.get_text()]
        assert not collisions(figure, texts)


@pytest.mark.parametrize("picture", [traces, ranks])
def test_bad_input(picture):
    with pytest.raises(InputError, match="`draws` must hold from 1"):
        picture({})
    for shape in ((50,), (4, 3), (0, 50), (4, 50, 1)):
        with pytest.raises(InputError, match=r"'x'.*axes"):
            picture({"x": np.zeros(shape)})
    with pytest.raises(InputError, match=r"'b'.*as many chains"):
        picture({"a": RNG.normal(size=(4, 50)), "b": RNG.normal(size=(3, 50))})
    with pytest.raises(InputError, match=r"'x'.*finite"):
        picture({"x": np.full((2, 50), np.nan)})


@pytest.mark.parametrize("num_bins", [1, 51])
def test_bins_out_of_range_are_refused(num_bins):
    with pytest.raises(InputError, match=f"`num_bins` must be at .*{num_bins}"):
        ranks(DRAWS, num_bins=num_bins)
