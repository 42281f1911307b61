import numpy as np
import pytest

from experiments.rows import Rows, mean_and_error, slug


@pytest.fixture
def rows():
    rows = Rows()
    for seed in (0, 1):
        rows.add({"nll": 1.0 + seed, "steps": np.int32(5)}, method="MAP", seed=seed)
    rows.add({"nll": 4.0}, method="Laplace, last layer", seed=0)
    return rows


def test_figures_are_rows_with_plain_values(rows):
    assert len(rows) == 5
    assert [*rows][1] == {"method": "MAP", "seed": 0, "metric": "steps", "value": 5}
    assert type([*rows][1]["value"]) is int


def test_where_takes_a_value_or_several(rows):
    assert len(rows.where(method="MAP")) == 4
    assert len(rows.where(method=("MAP", "Laplace, last layer"), metric="nll")) == 3
    assert len(rows.where(route="column 1")) == 0
    assert len(rows.where(route=None)) == 5


def test_values_and_levels_keep_their_order(rows):
    np.testing.assert_array_equal(rows.values("nll", method="MAP"), [1, 2])
    assert rows.levels("method") == ["MAP", "Laplace, last layer"]
    assert rows.levels("route") == []


def test_records_have_all_figures_of_equal_fields(rows):
    assert rows.records()[0] == {"method": "MAP", "seed": 0, "nll": 1.0, "steps": 5}
    assert len(rows.records()) == 3


def test_flat_figures_are_named_by_what_differs_and_average_over_seeds(rows):
    rows.add({"best": "MAP", "converged": True})
    assert rows.figures() == {
        "nll_map": 1.5,
        "nll_map_se": pytest.approx(0.5),
        "steps_map": 5,
        "steps_map_se": 0,
        "nll_laplace_last_layer": 4.0,
        "best": "MAP",
        "converged": True,
    }


def test_of_one_method_it_is_not_said(rows):
    assert set(rows.where(method="MAP", seed=0).figures()) == {"nll", "steps"}


def test_mean_and_standard_error():
    assert mean_and_error([1.0, 2.0, 3.0]) == pytest.approx((2, 1 / np.sqrt(3)))
    assert mean_and_error([1.0]) == (1, 0)


def test_slug():
    assert slug("Laplace, last layer") == "laplace_last_layer"
    assert slug(0.95) == "0.95"
