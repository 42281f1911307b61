import numpy as np
import pytest

from jfractal.errors import InputError
from jfractal.training import DropPath


def test_half_of_the_batches_run_one_column_each_as_often():
    routes = [DropPath(columns=3).route(seed=0, step=step) for step in range(6000)]
    counts = np.array([routes.count(route) for route in (None, 1, 2, 3)])
    expected = np.array([3000, 1000, 1000, 1000])
    deviation = np.sqrt(expected * (1 - expected / 6000))
    assert np.all(np.abs(counts - expected) < 4 * deviation)


def test_a_route_depends_on_seed_and_step_only():
    drop_path = DropPath(columns=4)
    routes = [drop_path.route(3, step) for step in range(50)]
    assert [drop_path.route(3, step) for step in reversed(range(50))] == routes[::-1]
    assert [drop_path.route(4, step) for step in range(50)] != routes


def test_rates_of_0_and_1():
    assert {DropPath(2, global_rate=0.0).route(0, i) for i in range(50)} == {None}
    assert {DropPath(2, global_rate=1.0).route(0, i) for i in range(50)} == {1, 2}


@pytest.mark.parametrize("rate", [1.1, -0.1])
def test_bad_rates(rate):
    with pytest.raises(InputError, match=rf"`global_rate` must be in \[0, 1\], got {rate}"):
        DropPath(3, global_rate=rate)


def test_there_must_be_columns():
    with pytest.raises(InputError, match="`columns` must be at least 1, got 0"):
        DropPath(0)
