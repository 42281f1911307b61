from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal import ops
from jfractal.errors import InputError
from jfractal.nn.estimators import (
    antithetic,
    draw,
    flipout,
    local_reparam,
    per_example,
    reparam,
)
from jfractal.posterior import Gaussian
from jfractal.posterior.softplus import inverse_softplus
from tests.moments import NUM_DRAWS, assert_mean, assert_moments, assert_variance, draws

ESTIMATORS = {f.__name__: f for f in (reparam, local_reparam, flipout, antithetic, per_example)}

each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)


def dense(x, w):
    return x @ w


def conv(x, w):
    numbers = ("NHWC", "HWIO", "NHWC")
    return ops.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers)


def gaussian(shape):
    rng = np.random.default_rng(1)
    std = jnp.asarray(rng.uniform(0.1, 0.9, shape), jnp.float32)
    return Gaussian(jnp.asarray(rng.normal(0, 1, shape), jnp.float32), inverse_softplus(std))


def normal(*shape):
    return jax.random.normal(jax.random.key(7), shape)


@cache
def dense_draws(estimator):
    """Outputs of a dense layer on a batch of four."""
    return draws(lambda key: ESTIMATORS[estimator](dense, normal(4, 3), gaussian((3, 2)), key))


# Means and variances


@each_estimator
def test_moments_of_a_dense_layer(estimator):
    x, w = normal(4, 3), gaussian((3, 2))
    assert_moments(dense_draws(estimator), x @ w.mean, x**2 @ w.std**2)


@each_estimator
def test_moments_of_a_convolution(estimator):
    x, w = normal(2, 2, 2, 2), gaussian((3, 3, 2, 2))
    y = draws(lambda key: ESTIMATORS[estimator](conv, x, w, key))
    assert_moments(y, conv(x, w.mean), conv(x**2, w.std**2))


def variance_of_a_sum(estimator, c, x, std):
    """``Var Σ_i c_i y_i`` over the examples of a dense layer, for each output.

    Two examples have the covariance ±x_i x_j · std² if they share their draw, or see opposite
    ones; else none.
    """
    half = len(x) // 2
    signs = {"reparam": [1.0] * 2 * half, "antithetic": [1.0] * half + [-1.0] * half}
    if estimator in signs:
        return ((c * jnp.asarray(signs[estimator])) @ x) ** 2 @ std**2
    return c**2 @ (x**2 @ std**2)


@each_estimator
def test_variance_of_the_mean_over_a_batch(estimator):
    x, w, y = normal(4, 3), gaussian((3, 2)), dense_draws(estimator)
    assert_variance(y.mean(1), variance_of_a_sum(estimator, jnp.full(4, 0.25), x, w.std))


@each_estimator
def test_variance_of_the_gradient_by_the_mean(estimator):
    # Of the loss mean_i y_i²/2 it is mean_i x_i y_i, again a sum over examples.
    x, w = normal(4, 3), gaussian((3, 2))
    loss = lambda w, key: 0.5 * (ESTIMATORS[estimator](dense, x, w, key) ** 2).sum() / 4
    gradients = draws(lambda key: jax.grad(loss)(w, key).mean)
    expected = [variance_of_a_sum(estimator, c, x, w.std) for c in x.T / 4]
    assert_variance(gradients, jnp.stack(expected))


@each_estimator
def test_variance_of_the_gradient_by_rho(estimator):
    # Of Σ_i c_i y_io by std_ko: the variance of what multiplies it, Σ_i ±c_i x_ik ε. That of an
    # output drawn in place of weights, y = m + √v ε with v_io = Σ_k x_ik² std_ko², is
    # Σ_i c_i² x_ik⁴ std_ko² / v_io.
    x, w, c = normal(4, 3), gaussian((3, 2)), jnp.array([0.3, -1.0, 0.7, 0.2])
    loss = lambda w, key: (c @ ESTIMATORS[estimator](dense, x, w, key)).sum()
    gradients = draws(lambda key: jax.grad(loss)(w, key).rho)
    if estimator == "local_reparam":
        by_std = jnp.einsum("ik,io->ko", c[:, None] ** 2 * x**4, 1 / (x**2 @ w.std**2)) * w.std**2
    else:
        each = [
            variance_of_a_sum(estimator, c, x[:, k : k + 1], jnp.ones((1, 2))) for k in range(3)
        ]
        by_std = jnp.stack(each)
    assert_moments(gradients, jnp.zeros((3, 2)), by_std * jax.nn.sigmoid(w.rho) ** 2)


@each_estimator
def test_gradient_of_a_quadratic_loss_is_unbiased(estimator):
    x, w, target = normal(6, 3), gaussian((3, 2)), jnp.ones((6, 2))

    def loss(w, key):
        return 0.5 * jnp.mean((ESTIMATORS[estimator](dense, x, w, key) - target) ** 2)

    def expected_loss(w):
        return 0.5 * jnp.mean((x @ w.mean - target) ** 2 + x**2 @ w.std**2)

    def flat(gradient):
        return jnp.concatenate([gradient.mean.ravel(), gradient.rho.ravel()])

    gradients = draws(lambda key: flat(jax.grad(loss)(w, key)))
    assert_mean(gradients, flat(jax.grad(expected_loss)(w)))


# What examples share


@pytest.mark.parametrize(
    ("estimator", "shared"),
    [
        ("reparam", [1, 1]),
        ("antithetic", [1, -1]),
        ("local_reparam", [0, 0]),
        ("flipout", [0, 0]),
        ("per_example", [0, 0]),
    ],
)
def test_noise_is_shared_by_the_batch_or_not(estimator, shared):
    x, w, y = normal(4, 3), gaussian((3, 2)), dense_draws(estimator)
    y = (y - y.mean(0)) / y.std(0)
    std = jnp.sqrt(x**2 @ w.std**2)
    for other, sign in zip((1, 2), shared):
        correlation = (y[:, 0] * y[:, other]).mean(0)
        expected = sign * ((x[0] * x[other]) @ w.std**2) / (std[0] * std[other])
        assert np.all(abs(correlation - expected) < 4 * 2**0.5 / NUM_DRAWS**0.5)


@pytest.mark.parametrize("estimator", ["local_reparam", "flipout", "per_example"])
def test_the_gradient_of_a_batch_is_less_noisy(estimator):
    # On n equal examples the shared draw gains nothing from the batch, the others a factor n.
    n = 8
    x, w = jnp.tile(normal(1, 3), (n, 1)), gaussian((3, 2))

    def variance(estimator):
        loss = lambda w, key: 0.5 * jnp.mean(estimator(dense, x, w, key) ** 2)
        return draws(lambda key: jax.grad(loss)(w, key).mean).var(0)

    ratio = variance(reparam) / variance(ESTIMATORS[estimator])
    np.testing.assert_allclose(ratio, n, rtol=4 * 2 / NUM_DRAWS**0.5)


def test_opposite_draws_cancel_on_equal_halves():
    # The gradient of a quadratic loss by the mean is linear in the noise: exact at any draw.
    x, w = jnp.tile(normal(3, 3), (2, 1)), gaussian((3, 2))
    loss = lambda w: 0.5 * (antithetic(dense, x, w, jax.random.key(3)) ** 2).sum()
    np.testing.assert_allclose(jax.grad(loss)(w).mean, x.T @ x @ w.mean, rtol=1e-5, atol=1e-5)


# What is drawn


def test_an_array_is_not_drawn():
    np.testing.assert_array_equal(draw(dense, jnp.ones((2, 3)), jnp.ones((3, 4)), None), 3)


def test_antithetic_is_two_opposite_kernels():
    x, w, key = normal(4, 3), gaussian((3, 2)), jax.random.key(3)
    noise = jax.random.normal(key, (3, 2))
    expected = jnp.concatenate([x[:2] @ w.at(noise), x[2:] @ w.at(-noise)])
    np.testing.assert_allclose(antithetic(dense, x, w, key), expected, rtol=1e-6)


@pytest.mark.parametrize(("shape", "number"), [((3, 2), 3), ((2,), 1)])
def test_antithetic_needs_pairs(shape, number):
    with pytest.raises(InputError, match=f"`x` must hold an even number of examples.*got {number}"):
        antithetic(dense, jnp.ones(shape), gaussian((2, 2)), jax.random.key(0))


@pytest.mark.parametrize("operation", [dense, conv])
def test_per_example_is_one_kernel_for_each(operation):
    x, shape = (normal(4, 3), (3, 2)) if operation is dense else (normal(3, 4, 5, 2), (3, 3, 2, 2))
    w, key = gaussian(shape), jax.random.key(3)
    noise = jax.random.normal(key, (len(x), *shape))
    expected = [operation(x[i : i + 1], w.at(noise[i])) for i in range(len(x))]
    y = per_example(operation, x, w, key)
    np.testing.assert_allclose(y, jnp.concatenate(expected), rtol=1e-5, atol=1e-5)


def test_flipout_flips_inputs_and_outputs():
    def noise(num_inputs, num_outputs):
        w = gaussian((num_inputs, num_outputs))
        x = jnp.ones((64, num_inputs))
        return np.asarray(flipout(dense, x, w, jax.random.key(0)) - x @ w.mean)

    # The outputs (±ε₁, ±ε₂) of one input, and the outputs ±ε₁ ± ε₂ of two.
    assert len(np.unique(noise(1, 2) > 0, axis=0)) == 4
    assert len(np.unique(abs(noise(2, 1)).round(4))) == 2


@pytest.mark.parametrize("estimator", [flipout, per_example])
def test_one_draw_holds_for_all_pixels_of_an_example(estimator):
    # With a 1×1 kernel every pixel of an example sees one and the same weight.
    x, w = jnp.ones((2, 3, 4, 1)), gaussian((1, 1, 1, 1))
    y = estimator(conv, x, w, jax.random.key(0))
    np.testing.assert_allclose(y, jnp.broadcast_to(y[:, :1, :1], y.shape), rtol=1e-6)
