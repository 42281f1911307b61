import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from scipy.stats import binom

from jfractal.errors import InputError
from jfractal.testing import Calibration
from jfractal.viz import rank_histograms
from jfractal.viz.style import WARNING

RNG = np.random.default_rng(0)
EVEN = np.tile(np.arange(100), 4)
NARROW = np.concatenate([np.zeros(200, int), np.full(200, 99)])


def bars(panel):
    return [patch for patch in panel.patches if isinstance(patch, Rectangle)]


def test_bars_count_simulations():
    panel = rank_histograms({"exact": Calibration({"f": EVEN}, 99)}).axes[0]
    areas = [bar.get_height() * bar.get_width() for bar in bars(panel)]
    np.testing.assert_allclose(areas, 20.0)
    assert (bars(panel)[0].get_x(), len(areas)) == (-0.5, 20)


def test_bars_beyond_the_band_are_marked():
    even, narrow = rank_histograms({"a": Calibration({"f": EVEN, "g": NARROW}, 99)}).axes
    marked = lambda panel: [to_hex(bar.get_facecolor()) == WARNING for bar in bars(panel)]
    assert not any(marked(even)) and all(marked(narrow))
    low, high = binom.interval(0.99, 400, 0.05)
    extent = even.patches[-1].get_path().get_extents()
    np.testing.assert_allclose([5 * extent.y0, 5 * extent.y1], [low, high])


def test_ranks_that_no_number_of_bins_divides():
    ranks = RNG.integers(0, 31, 200)
    panel = rank_histograms({"a": Calibration({"f": ranks}, 30)}).axes[0]
    areas = [bar.get_height() * bar.get_width() for bar in bars(panel)]
    assert sum(areas) == pytest.approx(200) and len(areas) == 20


def test_labels(render, collisions):
    calibration = Calibration({"first example": EVEN, "log joint": EVEN}, 99)
    figure = rank_histograms({"NUTS": calibration, "a long name": calibration})
    render(figure)  # which is when ticks get their labels
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    shown = {text.get_text() for text in texts}
    assert {"first example", "log joint", "NUTS", "a long name", "99"} <= shown
    assert not collisions(figure, texts)


def test_bad_input():
    f, g = (Calibration({name: EVEN}, 99) for name in "fg")
    for bad in ({}, {"a": f, "b": g}):
        with pytest.raises(InputError, match=r"must hold (from 1|at least one method)"):
            rank_histograms(bad)
