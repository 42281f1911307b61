import numpy as np
import pytest
from matplotlib.patches import StepPatch

from jfractal.errors import InputError
from jfractal.viz import score_histograms

RNG = np.random.default_rng(0)
SCORES = {"in": RNG.gamma(1.0, 0.1, 300), "out": RNG.gamma(3.0, 0.2, 500)}


def outlines(figure):
    (axes,) = figure.axes
    return [p for p in axes.patches if isinstance(p, StepPatch) and not p.get_fill()]


def test_every_density_integrates_to_one_on_the_same_bins():
    drawn = [patch.get_data() for patch in outlines(score_histograms(SCORES, xlabel="nats"))]
    assert len(drawn) == len(SCORES)
    for density, scores in zip(drawn, SCORES.values()):
        np.testing.assert_array_equal(density.edges, drawn[0].edges)
        assert density.values @ np.diff(density.edges) == pytest.approx(1.0)
        inside = scores < density.edges[3]
        share = density.values[:3] @ np.diff(density.edges[:4])
        assert share == pytest.approx(inside.mean())


def test_bins_reach_over_all_groups():
    edges = outlines(score_histograms(SCORES, xlabel="nats"))[0].get_data().edges
    both = np.concatenate([*SCORES.values()])
    assert (edges[0], edges[-1]) == (both.min(), both.max())


def test_labels(collisions):
    figure = score_histograms(SCORES, xlabel="epistemic entropy / nats")
    assert figure.axes[0].get_xlabel() == "epistemic entropy / nats"
    texts = figure.legends[0].get_texts()
    assert [text.get_text() for text in texts] == ["in", "out"]
    assert not collisions(figure, texts)


def test_equal_scores_can_be_drawn(render):
    render(score_histograms({"in": np.zeros(3)}, xlabel="nats"))


def test_bad_inputs():
    for bad in ([], [np.nan]):
        with pytest.raises(InputError, match="'out'"):
            score_histograms({"in": [1.0], "out": bad}, xlabel="nats")
    with pytest.raises(InputError, match="must hold from 1"):
        score_histograms({}, xlabel="nats")
