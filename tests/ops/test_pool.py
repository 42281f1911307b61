import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal import ops
from jfractal.errors import InputError


def flax_pool(x):
    return nn.max_pool(x, (2, 2), (2, 2))


@pytest.mark.parametrize("size", [(2, 2), (4, 6), (5, 4), (3, 7)])
def test_equals_flax(size, getkey):
    x = jax.random.normal(getkey(), (2, *size, 3))
    y, gradient = jax.vjp(jax.jit(ops.max_pool), x)
    expected, expected_gradient = jax.vjp(jax.jit(flax_pool), x)
    np.testing.assert_array_equal(y, expected)
    g = jax.random.normal(getkey(), y.shape)
    np.testing.assert_array_equal(gradient(g)[0], expected_gradient(g)[0])


def test_worked_by_hand():
    x = jnp.array([[1.0, 2, 0, -1, 9], [4, 3, -5, -2, 9], [9, 9, 9, 9, 9]]).reshape(1, 3, 5, 1)
    np.testing.assert_array_equal(ops.max_pool(x).reshape(1, 2), [[4, 0]])


def test_ties_are_broken_as_in_flax(getkey):
    x = jax.random.randint(getkey(), (3, 6, 4, 5), 0, 3).astype(jnp.float32)
    total = lambda pool: lambda x: jnp.sum(pool(x) ** 2)
    gradient, expected = (jax.grad(total(pool))(x) for pool in (ops.max_pool, flax_pool))
    np.testing.assert_array_equal(gradient, expected)


@pytest.mark.nan
@pytest.mark.parametrize("place", range(4))
def test_nan_stays(place):
    x = jnp.arange(4.0).at[place].set(jnp.nan).reshape(1, 2, 2, 1)
    assert jnp.isnan(ops.max_pool(x)).all()


@pytest.mark.parametrize("size", [(1, 4), (4, 1), (1, 1)])
def test_too_small_a_map_is_refused(size):
    with pytest.raises(
        InputError,
        match=rf"`x` must be at least 2 pixels along each axis .*, got {size[0]}×{size[1]}",
    ):
        ops.max_pool(jnp.zeros((2, *size, 3)))
