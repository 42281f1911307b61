import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal import ops
from jfractal.ops import memory

VECTOR = jax.ShapeDtypeStruct((100,), jnp.float32)  # 400 bytes


def of_three(x):
    a = jnp.sin(x)
    b = jnp.cos(a)
    return a + b  # beside its two terms


def in_line(x):
    for _ in range(10):
        x = jnp.sin(x)
    return x


def loop(x):
    return jax.lax.fori_loop(0, 50, lambda _, x: of_three(x), x)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x, 0),  # an argument
        (jnp.sin, 400),
        (of_three, 1200),
        (in_line, 800),
        (jax.jit(of_three), 1200),
        (lambda x: jnp.sum(jnp.sin(x)), 404),
        (lambda x: jax.lax.cond(x[0] > 0, of_three, jnp.sin, x), None),
        (loop, None),
    ],
)
def test_counted_by_hand(function, expected):
    counted = ops.live_bytes(function, VECTOR)
    if expected is None:  # the body, and some scalars
        assert 1200 <= counted < 1300
    else:
        assert counted == expected


@pytest.mark.parametrize("depth", [1, 4])
def test_close_to_what_the_compiler_allots(depth):
    """A chain of matrix products, of which none can be left out."""
    weights = [jnp.ones((256, 256))] * depth

    def product(x):
        for w in weights:
            x = jnp.tanh(x @ w)
        return x @ weights[0]

    x = jax.ShapeDtypeStruct((4096, 256), jnp.float32)
    analysis = jax.jit(product).lower(x).compile().memory_analysis()
    allotted = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    np.testing.assert_allclose(ops.live_bytes(product, x), allotted, rtol=0.6)


def test_memory_grows_with_the_batch_and_not_with_the_passes():
    cost = lambda n: ops.live_bytes(
        lambda xs: jax.lax.map(in_line, xs), jax.ShapeDtypeStruct((n, 100), jnp.float32)
    )
    assert cost(100) - cost(50) == 50 * 400  # of the outputs alone


def test_there_are_budgets():
    assert ops.memory_budget() >= ops.side_by_side_budget() >= 2**20


@pytest.mark.parametrize(
    ("num_examples", "budget", "expected"),
    [
        (3, 121, 3),  # all at once
        (3, 120, 3),  # 100 are of the weights, whatever the part
        (3, 20, 2),
        (3, 13, 1),
        (3, 3, 1),  # one has to do
        (100, 70, 10),
        (1, 3, 1),
        (2, 8, 1),
    ],
)
def test_the_largest_parts_are_of_equal_size_and_within_the_budget(
    monkeypatch, num_examples, budget, expected
):
    monkeypatch.setattr(memory, "memory_budget", lambda: budget)
    assert memory.largest_batch(lambda n: 100 + 7 * n, num_examples) == expected


def test_the_memory_of_the_device():
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if jax.default_backend() == "cpu":
        assert memory.device_memory() == host
    else:
        assert 2**28 < memory.device_memory() < 2**48
