import numpy as np
import pytest

from jfractal.errors import InputError
from jfractal.viz import intervals

ROWS = {"MAP": (1.8, 0.1), "mean field, scale mixture": (1.4, 0.05), "ensemble": (1.5, 0.0)}


def test_dots_and_whiskers_are_the_numbers(render):
    figure = intervals(ROWS, xlabel="test error (%), ± standard error", reference=1.36)
    render(figure)
    (axes,) = figure.axes
    dots, _, (whiskers,) = axes.containers[0]
    np.testing.assert_allclose(dots.get_xdata(), [1.8, 1.4, 1.5])
    ends = np.array([segment[:, 0] for segment in whiskers.get_segments()])
    np.testing.assert_allclose(ends, [[1.7, 1.9], [1.35, 1.45], [1.5, 1.5]])
    assert [label.get_text() for label in axes.get_yticklabels()] == list(ROWS)
    assert axes.yaxis_inverted()  # the first row is on top


def test_labels_do_not_overlap(collisions):
    figure = intervals({f"a method of a long name, {i}": (i, 1.0) for i in range(15)}, xlabel="x")
    (axes,) = figure.axes
    assert collisions(figure, axes.get_yticklabels()) == []


@pytest.mark.parametrize("rows", [{}, {"MAP": (np.nan, 0.0)}, {"MAP": (1.0, -0.1)}])
def test_bad_input(rows):
    with pytest.raises(InputError, match="`rows"):
        intervals(rows, xlabel="x")
