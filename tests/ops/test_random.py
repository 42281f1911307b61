from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal import ops

# What is the default of `ops` also where that of JAX is double precision.
jax_normal = partial(jax.random.normal, dtype=jnp.float32)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 4), (2, 0, 3), (7, 11, 13)])
@pytest.mark.parametrize("jit", [jax.jit, lambda f: f], ids=["jit", "eager"])
def test_draws_are_those_of_jax(jit, shape):
    key = jax.random.key(3)
    draws = jit(lambda key: ops.normal(key, shape))(key)
    assert draws.dtype == jnp.float32
    np.testing.assert_array_equal(draws, jit(lambda key: jax_normal(key, shape))(key))


@pytest.mark.parametrize("draw", [ops.normal, lambda key, shape: ops.bernoulli(key, 0.3, shape)])
@pytest.mark.parametrize("batch", [jax.jit, lambda f: jax.jit(jax.vmap(f, (0, None)))])
def test_a_gradient_makes_no_draw_twice(draw, batch):
    keys, x = jax.random.split(jax.random.key(0), 2), jnp.ones((64, 32))

    def loss(key, x):
        return jnp.tanh((x * jnp.asarray(draw(key, x.shape), jnp.float32)) @ x.T).sum()

    key = keys[0] if batch is jax.jit else keys
    rounds = lambda f: batch(f).lower(key, x).compile().as_text().count(" xor(")
    assert rounds(jax.grad(loss, 1)) == rounds(lambda key, x: draw(key, x.shape)) > 0


def test_under_vmap():
    keys = jax.random.split(jax.random.key(0), 6).reshape(2, 3)
    over = lambda draw: jax.jit(jax.vmap(jax.vmap(lambda key: draw(key, (5, 2)))))(keys)
    np.testing.assert_array_equal(over(ops.normal), over(jax_normal))


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(), (5,), (7, 11, 13)])
def test_truth_values_are_those_of_jax(p, shape):
    key = jax.random.key(4)
    draws = jax.jit(lambda key: ops.bernoulli(key, p, shape))(key)
    assert draws.dtype == bool
    np.testing.assert_array_equal(draws, jax.random.bernoulli(key, p, shape))


def test_truth_values_of_another_generator_and_precision_are_left_to_jax():
    key = jax.random.key(2, impl="rbg")
    ours = ops.bernoulli(key, 0.3, (9,))
    np.testing.assert_array_equal(ours, jax.random.bernoulli(key, 0.3, (9,)))
    with jax.enable_x64(True):
        key = jax.random.key(2)
        ours = ops.bernoulli(key, 0.3, (99,))
        np.testing.assert_array_equal(ours, jax.random.bernoulli(key, 0.3, (99,)))


def test_many_draws():
    draws = ops.normal(jax.random.key(1), (2**20,))
    np.testing.assert_array_equal(draws, jax_normal(jax.random.key(1), (2**20,)))
    assert abs(float(draws.mean())) < 4 / 2**10 and abs(float(draws.var()) - 1) < 4 * 2**0.5 / 2**10


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_other_types_are_left_to_jax(dtype):
    key = jax.random.key(2)
    draws = ops.normal(key, (9,), dtype)
    assert draws.dtype == dtype
    np.testing.assert_array_equal(draws, jax.random.normal(key, (9,), dtype))


def test_other_generators_are_left_to_jax():
    key = jax.random.key(2, impl="rbg")
    np.testing.assert_array_equal(ops.normal(key, (9,)), jax_normal(key, (9,)))


def test_double_precision_is_left_to_jax():
    with jax.enable_x64(True):
        key = jax.random.key(2)
        draws = ops.normal(key, (9,), jnp.float64)
        assert draws.dtype == jnp.float64
        np.testing.assert_array_equal(draws, jax.random.normal(key, (9,), jnp.float64))
