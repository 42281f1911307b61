from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from jfractal import ops
from jfractal.errors import InputError
from jfractal.nn import BayesConv, BayesDense
from jfractal.nn.bayes import flipout, local_reparam, reparam
from jfractal.posterior import Gaussian, mean, mean_field, sample
from jfractal.posterior.gaussian import gaussians, inverse_softplus

ESTIMATORS = {"reparam": reparam, "local_reparam": local_reparam, "flipout": flipout}
NUM_DRAWS = 20_000

each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)


def dense(x, w):
    return x @ w


def conv(x, w):
    numbers = ("NHWC", "HWIO", "NHWC")
    return ops.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers)


def draws(function):
    """``function(key)`` at many keys, in float64."""
    keys = jax.random.split(jax.random.key(0), NUM_DRAWS)
    return np.asarray(jax.jit(jax.vmap(function))(keys), np.float64)


def gaussian(shape):
    rng = np.random.default_rng(1)
    std = jnp.asarray(rng.uniform(0.1, 0.9, shape), jnp.float32)
    return Gaussian(jnp.asarray(rng.normal(0, 1, shape), jnp.float32), inverse_softplus(std))


def normal(*shape):
    return jax.random.normal(jax.random.key(7), shape)


def assert_mean(values, expected):
    """The mean over the first axis, within four standard errors."""
    error = values.std(0) / len(values) ** 0.5
    assert np.all(abs(values.mean(0) - expected) <= 4 * error + 1e-6)


def assert_moments(values, mean, variance):
    """Mean and variance of Gaussian values, within four standard errors."""
    assert_mean(values, mean)
    ratio = values.var(0) / np.asarray(variance)
    assert np.all(abs(ratio - 1) < 4 * (2 / len(values)) ** 0.5)


# Estimators


@cache
def dense_draws(estimator):
    """Outputs of a dense layer on a batch of four."""
    return draws(lambda key: ESTIMATORS[estimator](dense, normal(4, 3), gaussian((3, 2)), key))


@each_estimator
def test_moments_of_a_dense_layer(estimator):
    x, w = normal(4, 3), gaussian((3, 2))
    assert_moments(dense_draws(estimator), x @ w.mean, x**2 @ w.std**2)


@each_estimator
def test_moments_of_a_convolution(estimator):
    x, w = normal(2, 2, 2, 2), gaussian((3, 3, 2, 2))
    y = draws(lambda key: ESTIMATORS[estimator](conv, x, w, key))
    assert_moments(y, conv(x, w.mean), conv(x**2, w.std**2))


@each_estimator
def test_gradient_of_a_quadratic_loss_is_unbiased(estimator):
    x, w, target = normal(5, 3), gaussian((3, 2)), jnp.ones((5, 2))

    def loss(w, key):
        return 0.5 * jnp.mean((ESTIMATORS[estimator](dense, x, w, key) - target) ** 2)

    def expected_loss(w):
        return 0.5 * jnp.mean((x @ w.mean - target) ** 2 + x**2 @ w.std**2)

    def flat(gradient):
        return jnp.concatenate([gradient.mean.ravel(), gradient.rho.ravel()])

    gradients = draws(lambda key: flat(jax.grad(loss)(w, key)))
    assert_mean(gradients, flat(jax.grad(expected_loss)(w)))


@pytest.mark.parametrize(
    ("estimator", "is_shared"), [("reparam", True), ("local_reparam", False), ("flipout", False)]
)
def test_noise_is_shared_by_the_batch_or_not(estimator, is_shared):
    x, w, y = normal(4, 3), gaussian((3, 2)), dense_draws(estimator)
    y = (y - y.mean(0)) / y.std(0)
    correlation = (y[:, 0] * y[:, 1]).mean(0)
    covariance, std = (x[0] * x[1]) @ w.std**2, jnp.sqrt(x**2 @ w.std**2)
    expected = covariance / (std[0] * std[1]) if is_shared else np.zeros(2)
    assert np.all(abs(correlation - expected) < 4 * 2**0.5 / NUM_DRAWS**0.5)


@pytest.mark.parametrize("estimator", ["local_reparam", "flipout"])
def test_the_gradient_of_a_batch_is_less_noisy(estimator):
    # On n equal examples the shared draw gains nothing from the batch, the others a factor n.
    n = 8
    x, w = jnp.tile(normal(1, 3), (n, 1)), gaussian((3, 2))

    def variance(estimator):
        loss = lambda w, key: 0.5 * jnp.mean(estimator(dense, x, w, key) ** 2)
        return draws(lambda key: jax.grad(loss)(w, key).mean).var(0)

    ratio = variance(reparam) / variance(ESTIMATORS[estimator])
    np.testing.assert_allclose(ratio, n, rtol=4 * 2 / NUM_DRAWS**0.5)


def test_flipout_flips_inputs_and_outputs():
    def noise(num_inputs, num_outputs):
        w = gaussian((num_inputs, num_outputs))
        x = jnp.ones((64, num_inputs))
        return np.asarray(flipout(dense, x, w, jax.random.key(0)) - x @ w.mean)

    # The outputs (±ε₁, ±ε₂) of one input, and the outputs ±ε₁ ± ε₂ of two.
    assert len(np.unique(noise(1, 2) > 0, axis=0)) == 4
    assert len(np.unique(abs(noise(2, 1)).round(4))) == 2


def test_flipout_keeps_one_draw_over_the_pixels_of_an_example():
    # With a 1×1 kernel every pixel of an example sees one and the same weight.
    x, w = jnp.ones((2, 3, 4, 1)), gaussian((1, 1, 1, 1))
    y = flipout(conv, x, w, jax.random.key(0))
    np.testing.assert_allclose(y, jnp.broadcast_to(y[:, :1, :1], y.shape), rtol=1e-6)


def test_local_reparam_has_a_gradient_at_zero():
    layer = BayesDense(2, use_bias=False, estimator="local_reparam")
    x = jnp.zeros((3, 4)).at[0, 0].set(1.0)
    q = layer.init(jax.random.key(0), x)
    rngs = {"posterior": jax.random.key(1)}
    value = lambda q, x: jnp.sum(layer.apply(q, x, rngs=rngs) ** 2)
    for gradient in jax.tree.leaves(jax.grad(value, argnums=(0, 1))(q, x)):
        assert jnp.isfinite(gradient).all()


# Layers against Flax


DENSE = [{}, {"use_bias": False, "dtype": jnp.bfloat16}]
CONV = [
    {"dtype": jnp.bfloat16},
    {"use_bias": False, "padding": "VALID", "kernel_dilation": 2},
    {"strides": 2, "padding": [(1, 0), (0, 2)], "feature_group_count": 2, "kernel_size": (2, 3)},
]
LAYERS = [
    *((BayesDense, nn.Dense, {"features": 4} | options) for options in DENSE),
    *((BayesConv, nn.Conv, {"features": 4, "kernel_size": (3, 3)} | options) for options in CONV),
]
each_layer = pytest.mark.parametrize(
    ("bayes", "flax", "options"),
    LAYERS,
    ids=["dense", "dense-low", "conv-low", "conv-valid", "conv-grouped"],
)


@each_layer
def test_without_spread_a_layer_is_that_of_flax(bayes, flax, options):
    x = normal(2, 5, 6, 2)
    params = flax(**options).init(jax.random.key(0), x)
    expected = flax(**options).apply(params, x)
    layer = bayes(**options)

    def outputs(params):
        rngs = {"posterior": jax.random.key(1)}
        narrow = [mean_field(params, scale=1e-20, estimator=e) for e in ESTIMATORS]
        return [layer.apply(params, x), *(layer.apply(q, x, rngs=rngs) for q in narrow)]

    tolerance = 2e-2 if expected.dtype == jnp.bfloat16 else 1e-5
    for y in outputs(params):
        assert y.dtype == expected.dtype
        np.testing.assert_allclose(
            y.astype(jnp.float32), expected.astype(jnp.float32), rtol=tolerance, atol=tolerance
        )


@each_layer
def test_init_makes_leaves_around_the_init_of_flax(bayes, flax, options):
    x = normal(2, 5, 6, 2)
    q = bayes(**options, scale=0.2, estimator="flipout").init(jax.random.key(0), x)
    expected = flax(**options).init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, mean(q), expected)
    assert len(gaussians(q)) == len(jax.tree.leaves(expected))
    for leaf in gaussians(q):
        assert leaf.estimator == "flipout" and leaf.mean.dtype == jnp.float32
        np.testing.assert_allclose(leaf.std, 0.2, rtol=1e-6)


@each_estimator
def test_a_1x1_convolution_is_dense(estimator):
    x, rngs = normal(4, 3), {"posterior": jax.random.key(1)}
    layer = BayesDense(2, scale=0.5, estimator=estimator)
    q = layer.init(jax.random.key(0), x)
    as_kernel = lambda w: w.reshape(1, 1, *w.shape) if w.ndim == 2 else w
    y = BayesConv(2, (1, 1)).apply(jax.tree.map(as_kernel, q), x[:, None, None], rngs=rngs)
    np.testing.assert_allclose(y[:, 0, 0], layer.apply(q, x, rngs=rngs), rtol=1e-5)


@each_estimator
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 4, 3)])
def test_any_number_of_batch_axes(estimator, shape):
    layer = BayesDense(5, scale=1.0, estimator=estimator)
    q = layer.init(jax.random.key(0), normal(*shape))
    assert layer.apply(q, normal(*shape), rngs={"posterior": jax.random.key(1)}).shape == (
        *shape[:-1],
        5,
    )


@each_estimator
def test_the_layer_draws_kernel_and_bias(estimator):
    x = normal(3, 2)
    layer = BayesDense(2, scale=0.3, estimator=estimator, bias_init=nn.initializers.ones)
    q = layer.init(jax.random.key(0), x)
    y = draws(lambda key: layer.apply(q, x, rngs={"posterior": key}))
    assert_moments(y, layer.apply(mean(q), x), 0.3**2 * ((x**2).sum(-1, keepdims=True) + 1))


@pytest.mark.parametrize("part", ["kernel", "bias"])
def test_one_part_may_be_an_array(part):
    x, layer = normal(3, 2), BayesDense(2)
    params = nn.Dense(2).init(jax.random.key(0), x)
    q = mean_field(params, scale=1.0, where=lambda path, leaf: path.endswith(part))
    y = layer.apply(q, x, rngs={"posterior": jax.random.key(1)})
    spread = y - layer.apply(params, x)
    if part == "bias":  # the same shift for every example
        np.testing.assert_allclose(spread, jnp.broadcast_to(spread[:1], (3, 2)), atol=1e-5)
    assert jnp.all(spread != 0)


def test_a_drawn_tree_needs_no_rng():
    x, layer = normal(3, 2), BayesDense(2)
    q = layer.init(jax.random.key(0), x)
    drawn = sample(q, jax.random.key(1))
    np.testing.assert_array_equal(layer.apply(drawn, x), nn.Dense(2).apply(drawn, x))


# Random numbers


class Twice(nn.Module):
    """One layer at two places."""

    estimator: str = "reparam"

    def setup(self):
        self.layer = BayesDense(3, use_bias=False, scale=1.0, estimator=self.estimator)

    def __call__(self, x):
        return self.layer(x), self.layer(2 * x)


@pytest.mark.parametrize("estimator", ["reparam", "flipout"])
def test_tied_use_is_one_draw(estimator):
    x, net = normal(4, 3), Twice(estimator)
    q = net.init(jax.random.key(0), x)
    first, second = net.apply(q, x, rngs={"posterior": jax.random.key(1)})
    np.testing.assert_allclose(second, 2 * first, rtol=1e-5)
    other, _ = net.apply(q, x, rngs={"posterior": jax.random.key(2)})
    assert jnp.all(first != other)


def test_local_reparam_refuses_tied_use():
    x, net = normal(4, 3), Twice("local_reparam")
    q = net.init(jax.random.key(0), x)
    with pytest.raises(InputError, match="layer is used more than once in a pass"):
        net.apply(q, x, rngs={"posterior": jax.random.key(1)})


@each_estimator
def test_layers_draw_apart(estimator):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            options = {"scale": 1.0, "estimator": estimator, "kernel_init": nn.initializers.zeros}
            return BayesDense(3, **options)(x), BayesDense(3, **options)(x)

    x, net = normal(4, 3), Net()
    first, second = net.apply(
        net.init(jax.random.key(0), x), x, rngs={"posterior": jax.random.key(1)}
    )
    assert jnp.all(first != second)


@each_estimator
def test_a_missing_key_is_named(estimator):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return BayesDense(3, estimator=estimator, name="head")(x)

    x = normal(4, 3)
    q = Net().init(jax.random.key(0), x)
    with pytest.raises(
        InputError, match=r"weights of head are Gaussian.*rngs=\{'posterior': key\}"
    ):
        Net().apply(q, x)
    lone = BayesConv(3, (1,), use_bias=False, estimator=estimator)
    with pytest.raises(InputError, match="weights of BayesConv are Gaussian"):
        lone.apply(lone.init(jax.random.key(0), x), x)


def test_an_unknown_estimator_is_refused():
    with pytest.raises((InputError, TypeCheckError), match=r"[`']estimator[`']"):
        BayesDense(3, estimator="magic").init(jax.random.key(0), jnp.ones((1, 2)))
