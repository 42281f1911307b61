from functools import partial

import pytest

from jfractal.predict import plan as module
from jfractal.predict.plan import plan

WEIGHTS, EXAMPLE = 1000, 10


def cost(size):
    return WEIGHTS + EXAMPLE * size


@pytest.fixture
def budget(monkeypatch):
    def set_budget(size):
        monkeypatch.setattr(module.ops.memory, "memory_budget", lambda: size)
        monkeypatch.setattr(module.ops, "side_by_side_budget", lambda: size)

    return set_budget


def test_everything_at_once_where_it_fits(budget):
    budget(10**9)
    assert plan(cost, 300, 32) == (300, 32, 1)


def test_draws_are_cut_first(budget):
    budget(cost(300) * 10)
    assert plan(cost, 300, 32) == (300, 8, 4)  # rather than 10, 10, 10 and 2


def test_then_examples(budget):
    budget(EXAMPLE * 128)
    assert plan(cost, 300, 32) == (100, 1, 32)  # rather than 128, 128 and 44


def test_weights_beyond_the_budget_do_not_make_batches_of_one(budget):
    budget(WEIGHTS // 2)
    assert plan(cost, 300, 2) == (50, 1, 2)


def test_draws_have_a_budget_of_their_own(budget, monkeypatch):
    budget(10**9)
    monkeypatch.setattr(module.ops, "side_by_side_budget", lambda: 4 * cost(300))
    assert plan(cost, 300, 32) == (300, 4, 8)


@pytest.mark.parametrize("size", [1, 7, 300])
@pytest.mark.parametrize("num_samples", [1, 7, 32])
@pytest.mark.parametrize("bytes_", [1, 500, 5000, 10**6])
def test_nothing_is_left_out_and_little_is_wasted(budget, size, num_samples, bytes_):
    budget(bytes_)
    batch_size, samples_per_pass, num_passes = plan(cost, size, num_samples)
    assert 1 <= batch_size <= size and 1 <= samples_per_pass <= num_samples
    assert 0 <= samples_per_pass * num_passes - num_samples < num_passes
    fits = EXAMPLE * batch_size <= max(bytes_, EXAMPLE)
    assert fits and (samples_per_pass == 1 or samples_per_pass * cost(batch_size) <= bytes_)


def test_what_is_decided_is_kept_and_costs_nothing():
    decided = partial(plan, lambda size: 1 / 0, batch_size=128, samples_per_pass=5)
    assert decided(300, 32) == (128, 5, 7)
    assert decided(20, 3) == (20, 3, 1)
