import jax
import numpy as np
import pytest
import scipy.stats

from jfractal import metrics
from jfractal.errors import InputError
from jfractal.metrics import Reliability
from jfractal.viz import reliability_diagram

NUM_BINS = 10


def predictions(seed):
    draw, label = jax.random.split(jax.random.key(seed))
    probs = jax.nn.softmax(2.0 * jax.random.normal(draw, (200, 3)))
    return probs, jax.random.categorical(label, probs.clip(0.2))


@pytest.fixture(scope="module")
def bins():
    return {
        name: metrics.reliability(*predictions(seed), num_bins=NUM_BINS)
        for seed, name in enumerate(["whole net", "column 1", "column 2"])
    }


def test_bars_are_the_data(bins):
    figure = reliability_diagram(bins)
    axes = np.reshape(figure.axes, (2, 3))
    for (above, below), data in zip(axes.T, bins.values()):
        accuracy, gap = above.containers
        np.testing.assert_allclose([bar.get_height() for bar in accuracy], data.accuracy)
        ends = [sorted((bar.get_y(), bar.get_y() + bar.get_height())) for bar in gap]
        want = np.sort(np.stack([data.accuracy, data.confidence], axis=1), axis=1)
        np.testing.assert_allclose(ends, want, atol=1e-6)
        np.testing.assert_array_equal([bar.get_height() for bar in below.containers[0]], data.count)
        centres = [bar.get_x() + bar.get_width() / 2 for bar in accuracy]
        np.testing.assert_allclose(centres, (np.arange(NUM_BINS) + 0.5) / NUM_BINS)


def test_titles_state_the_calibration_error(bins):
    figure = reliability_diagram(bins, title="test set")
    for seed, (axes, name) in enumerate(zip(figure.axes, bins)):
        ece = metrics.ece(*predictions(seed), num_bins=NUM_BINS)
        assert axes.get_title(loc="left") == f"{name}\nECE {ece:.3f}"
    assert figure.get_suptitle() == "test set"


def test_one_diagram_needs_no_name(bins):
    figure = reliability_diagram(bins["whole net"])
    assert len(figure.axes) == 2
    assert figure.axes[0].get_title(loc="left").startswith("ECE ")


def test_texts_do_not_overlap_and_are_not_cut_off(bins, collisions):
    for figure in (reliability_diagram(bins, title="test"), reliability_diagram(bins["column 1"])):
        texts = [axes.title for axes in figure.axes] + [axes.yaxis.label for axes in figure.axes]
        assert not collisions(figure, [*texts, *figure.legends[0].get_texts()])


def test_bad_inputs():
    empty = Reliability(*np.zeros((3, 4)))
    with pytest.raises(InputError, match="must hold from 1"):
        reliability_diagram({})
    with pytest.raises(InputError, match="'column 1' has none"):
        reliability_diagram({"column 1": empty})


def test_intervals_are_those_of_wilson(bins):
    axes = reliability_diagram(bins["column 1"]).axes[0]
    segments = axes.collections[0].get_segments()
    data = [x for x in zip(bins["column 1"].accuracy, bins["column 1"].count) if x[1] > 0]
    for (share, count), segment in zip(data, segments, strict=True):
        test = scipy.stats.binomtest(round(float(share * count)), int(count))
        low, high = test.proportion_ci(method="wilson")
        np.testing.assert_allclose(segment[:, 1], [low, high], atol=1e-6)
