from functools import partial

import jax
import numpy as np
import pytest

from jfractal.errors import InputError
from jfractal.metrics import brier, brier_decomposition


@pytest.fixture
def forecast():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(4), size=(20, 10)).astype(np.float32)
    return probs, rng.integers(0, 4, size=(20, 10))


def test_the_parts_add_up(run, forecast):
    parts = run(partial(brier_decomposition, num_bins=7))(*forecast)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within
    assert total == pytest.approx(float(brier(*forecast)), abs=1e-6)
    assert parts.reliability >= 0 and parts.resolution >= 0


def test_the_parts_meet_a_loop_over_bins(forecast):
    probs, labels = forecast[0].reshape(-1, 4), forecast[1].ravel()
    reliability = resolution = uncertainty = 0.0
    for c in range(4):
        p, event = probs[:, c].astype(np.float64), labels == c
        uncertainty += event.mean() * (1 - event.mean())
        for k in range(7):
            inside = (p > k / 7) & (p <= (k + 1) / 7)
            if inside.any():
                frequency = event[inside].mean()
                reliability += inside.mean() * (p[inside].mean() - frequency) ** 2
                resolution += inside.mean() * (frequency - event.mean()) ** 2
    parts = jax.jit(partial(brier_decomposition, num_bins=7))(*forecast)
    expected = (reliability, resolution, uncertainty)
    np.testing.assert_allclose(parts[:3], expected, rtol=1e-5, atol=1e-7)


def test_rain_worked_by_hand():
    # It rains on 3 of 4 days called 3/4, and on 1 of 4 called 1/2: Murphy's three parts are exact.
    rain = np.repeat([0.75, 0.5], 4).astype(np.float32)
    probs, labels = np.stack([1 - rain, rain], 1), np.array([1, 1, 1, 0, 1, 0, 0, 0])
    parts = brier_decomposition(probs, labels, num_bins=4)
    # Twice those of rain alone, for both classes count.
    np.testing.assert_allclose(parts, [2 * 0.0625 / 2, 2 * 0.0625, 2 * 0.25, 0], atol=1e-6)


def test_bins_are_at_least_one(forecast):
    with pytest.raises(InputError, match="`num_bins` must be at least 1, got 0"):
        brier_decomposition(*forecast, num_bins=0)
