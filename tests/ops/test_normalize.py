import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jfractal import ops

SHAPE = (4, 3, 5, 6)
BATCH = ((0, 1, 2), (1, 1, 1, 6))
LAYER = ((1, 2, 3), (1, 1, 1, 6))
INSTANCE = ((1, 2), (1, 1, 1, 6))
PIXEL = ((3,), (1, 3, 5, 1))  # the normalised axis shares one scale, the others have their own
KINDS = [BATCH, LAYER, INSTANCE, PIXEL]


def arrays(shape, getkey, dtype=jnp.float32):
    x = 2 * jax.random.normal(getkey(), SHAPE, dtype) + 1
    return x, jax.random.normal(getkey(), shape, dtype), jax.random.normal(getkey(), shape, dtype)


def line_by_line(x, scale, bias, axes):
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / jnp.sqrt(var + 1e-3) * scale + bias


def normalized(x, scale, bias, axes):
    return ops.normalize(x, scale, bias, axes=axes, epsilon=1e-3).value


@pytest.mark.parametrize(("axes", "shape"), KINDS)
def test_equals_the_definition_and_its_automatic_gradient(axes, shape, getkey):
    args = arrays(shape, getkey)
    g = jax.random.normal(getkey(), SHAPE, args[0].dtype)
    value, gradient = jax.jit(lambda *a: _with_gradient(normalized, axes, g, *a))(*args)
    expected, expected_gradient = _with_gradient(line_by_line, axes, g, *args)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(gradient, expected_gradient, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)


def _with_gradient(function, axes, g, *args):
    value, vjp = jax.vjp(lambda *a: function(*a, axes), *args)
    return value, vjp(g)


@pytest.mark.parametrize(("axes", "shape"), KINDS)
def test_gradient_meets_finite_differences(axes, shape, getkey):
    with jax.enable_x64(True):
        args = arrays(shape, getkey, jnp.float64)
        check_grads(lambda *a: normalized(*a, axes), args, order=1, modes=["rev"], atol=1e-6)


def test_mean_and_variance_are_returned_and_constant(getkey):
    x, scale, bias = arrays(BATCH[1], getkey)
    result = ops.normalize(x, scale, bias, axes=BATCH[0], epsilon=1e-3)
    np.testing.assert_allclose(result.mean.ravel(), x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(result.var.ravel(), x.var((0, 1, 2)), rtol=1e-4)

    def moments(x):
        result = ops.normalize(x, scale, bias, axes=BATCH[0], epsilon=1e-3)
        return result.mean.sum() + result.var.sum()

    np.testing.assert_array_equal(jax.grad(moments)(x), jnp.zeros(SHAPE))


def test_equals_flax_batch_norm_with_gradient(getkey):
    x, scale, bias = arrays(BATCH[1], getkey)
    theirs = nn.BatchNorm(use_running_average=False, epsilon=1e-3)
    statistics = theirs.init(jax.random.key(0), x)["batch_stats"]

    def flax(x, scale, bias):
        params = {"scale": scale.ravel(), "bias": bias.ravel()}
        variables = {"params": params, "batch_stats": statistics}
        return jnp.sin(theirs.apply(variables, x, mutable=["batch_stats"])[0]).sum()

    def ours(x, scale, bias):
        return jnp.sin(normalized(x, scale, bias, BATCH[0])).sum()

    gradients = (jax.grad(f, argnums=(0, 1, 2))(x, scale, bias) for f in (ours, flax))
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("mapped", [(0, None, None), (None, 0, 0), (0, 0, 0)])
def test_vmap_is_one_by_one(mapped, getkey):
    args = arrays(BATCH[1], getkey)
    stacked = [a if axis is None else jnp.stack([a, 2 * a, a + 1]) for a, axis in zip(args, mapped)]

    def gradient(*args):
        return jax.grad(lambda *a: (normalized(*a, BATCH[0]) ** 2).sum(), argnums=(0, 1, 2))(*args)

    together = jax.vmap(gradient, mapped)(*stacked)
    for i in range(3):
        lone = gradient(*(a if axis is None else a[i] for a, axis in zip(stacked, mapped)))
        for a, b in zip(together, lone, strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=2e-4)


def test_half_precision_keeps_its_dtype_and_single_precision_statistics(getkey):
    x, scale, bias = arrays(BATCH[1], getkey)
    half = x.astype(jnp.bfloat16)
    result = ops.normalize(half, scale, bias, axes=BATCH[0], epsilon=1e-3)
    assert result.value.dtype == jnp.bfloat16 and result.mean.dtype == jnp.float32
    np.testing.assert_allclose(
        result.mean, half.astype(jnp.float32).mean((0, 1, 2), keepdims=True), rtol=1e-5
    )
    gradient = jax.grad(lambda x: normalized(x, scale, bias, BATCH[0]).sum())(half)
    assert gradient.dtype == jnp.bfloat16


def test_a_constant_map_is_the_bias_and_finite(getkey):
    _, scale, bias = arrays(BATCH[1], getkey)
    x = jnp.full(SHAPE, 1e3)
    np.testing.assert_allclose(
        normalized(x, scale, bias, BATCH[0]), jnp.broadcast_to(bias, SHAPE), atol=1e-2
    )
    gradient = jax.grad(lambda x: (normalized(x, scale, bias, BATCH[0]) ** 2).sum())(x)
    assert jnp.isfinite(gradient).all()
