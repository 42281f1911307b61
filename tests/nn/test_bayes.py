from functools import partial
from typing import get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

import jfractal as jf
from jfractal.errors import InputError
from jfractal.nn import LOG_VARIANCE, BayesConv, BayesDense, BayesEmbed
from jfractal.posterior import mean, mean_field, sample
from jfractal.posterior.gaussian import Estimator, gaussians
from tests.moments import assert_moments, draws

ESTIMATORS = get_args(Estimator)
OF_A_TABLE = [name for name in ESTIMATORS if name != "flipout"]
RNGS = {"posterior": jax.random.key(1)}

each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)


def normal(*shape):
    return jax.random.normal(jax.random.key(7), shape)


def test_local_reparam_has_a_gradient_at_zero():
    layer = BayesDense(2, use_bias=False, estimator="local_reparam")
    x = jnp.zeros((3, 4)).at[0, 0].set(1.0)
    q = layer.init(jax.random.key(0), x)
    rngs = {"posterior": jax.random.key(1)}
    value = lambda q, x: jnp.sum(layer.apply(q, x, rngs=rngs) ** 2)
    for gradient in jax.tree.leaves(jax.grad(value, argnums=(0, 1))(q, x)):
        assert jnp.isfinite(gradient).all()


# Layers against Flax


DENSE = [{}, {"use_bias": False, "dtype": jnp.bfloat16}, {"precision": "highest"}]
CONV = [
    {"dtype": jnp.bfloat16},
    {"precision": "highest", "padding": "CIRCULAR"},
    {"use_bias": False, "padding": "VALID", "kernel_dilation": 2},
    {"strides": 2, "padding": [(1, 0), (0, 2)], "feature_group_count": 2, "kernel_size": (2, 3)},
    {"kernel_size": (3,), "strides": 2, "kernel_dilation": 2, "padding": "SAME"},
    {"kernel_size": 5, "feature_group_count": 2, "padding": "CAUSAL"},
]
LAYERS = [
    *((BayesDense, nn.Dense, {"features": 4} | options) for options in DENSE),
    *((BayesConv, nn.Conv, {"features": 4, "kernel_size": (3, 3)} | options) for options in CONV),
]
each_layer = pytest.mark.parametrize(("bayes", "flax", "options"), LAYERS)


def inputs_of(options):
    """Two examples, of one spatial axis if the window has one."""
    window = options.get("kernel_size", (3, 3))
    return normal(2, 5, 6, 2) if isinstance(window, tuple) and len(window) == 2 else normal(2, 9, 2)


def assert_same(actual, expected):
    assert actual.dtype == expected.dtype
    tolerance = 2e-2 if expected.dtype == jnp.bfloat16 else 1e-5
    actual, expected = (y.astype(jnp.float32) for y in (actual, expected))
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@each_layer
def test_a_layer_that_finds_arrays_is_that_of_flax(bayes, flax, options):
    x = inputs_of(options)
    params = flax(**options).init(jax.random.key(0), x)
    assert_same(bayes(**options).apply(params, x), flax(**options).apply(params, x))


@each_layer
def test_without_spread_a_layer_is_that_of_flax(bayes, flax, options):
    x = inputs_of(options)
    params = flax(**options).init(jax.random.key(0), x)
    expected = flax(**options).apply(params, x)
    for estimator in ("local_reparam", "flipout"):
        q = mean_field(params, scale=1e-20, estimator=estimator)
        assert_same(bayes(**options).apply(q, x, rngs=RNGS), expected)


@each_layer
def test_a_draw_is_the_layer_of_flax_at_the_drawn_weights(bayes, flax, options):
    x, layer = inputs_of(options), flax(**options)
    params = layer.init(jax.random.key(0), x)["params"]
    keys = dict(zip(("kernel", "bias"), jax.random.split(RNGS["posterior"])))

    def outputs(estimator):
        q = mean_field(params, scale=0.5, estimator=estimator)
        return bayes(**options).apply({"params": q}, x, rngs=RNGS)

    def at(noise, x):
        return layer.apply({"params": {k: w + 0.5 * noise[k] for k, w in params.items()}}, x)

    shared = {k: jax.random.normal(keys[k], w.shape) for k, w in params.items()}
    opposite = jax.tree.map(jnp.negative, shared)
    apart = {k: jax.random.normal(keys[k], (2, *w.shape)) for k, w in params.items()}
    each = [at({k: v[i] for k, v in apart.items()}, x[i : i + 1]) for i in range(2)]
    assert_same(outputs("reparam"), at(shared, x))
    assert_same(outputs("antithetic"), jnp.concatenate([at(shared, x[:1]), at(opposite, x[1:])]))
    assert_same(outputs("per_example"), jnp.concatenate(each))


@each_layer
def test_init_makes_leaves_around_the_init_of_flax(bayes, flax, options):
    x = inputs_of(options)
    q = bayes(**options, scale=0.2, estimator="flipout").init(jax.random.key(0), x)
    expected = flax(**options).init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, mean(q), expected)
    assert len(gaussians(q)) == len(jax.tree.leaves(expected))
    for leaf in gaussians(q):
        assert leaf.estimator == "flipout" and leaf.mean.dtype == jnp.float32
        np.testing.assert_allclose(leaf.std, 0.2, rtol=1e-6)


def test_the_log_variance_preset():
    q = BayesDense(200, **LOG_VARIANCE).init(jax.random.key(0), normal(2, 100))
    for leaf in gaussians(q):
        assert leaf.parameterisation == "log_variance"
        np.testing.assert_allclose(leaf.rho, -3, rtol=1e-6)
    kernel = q["params"]["kernel"]
    np.testing.assert_allclose(kernel.std, np.exp(-1.5), rtol=1e-6)
    n = kernel.mean.size
    assert abs(kernel.mean.mean()) < 4 * 0.1 / n**0.5
    assert abs(kernel.mean.var() / 0.1**2 - 1) < 4 * (2 / n) ** 0.5
    conv = BayesConv(4, (3,), **LOG_VARIANCE).init(jax.random.key(0), normal(2, 5, 3))
    np.testing.assert_allclose(conv["params"]["bias"].std, np.exp(-1.5), rtol=1e-6)
    (table,) = gaussians(BayesEmbed(50, 40, **LOG_VARIANCE).init(jax.random.key(0), jnp.arange(2)))
    np.testing.assert_allclose(table.std, np.exp(-1.5), rtol=1e-6)
    assert abs(table.mean.var() / 0.1**2 - 1) < 4 * (2 / table.mean.size) ** 0.5


def test_the_log_variance_preset_holds_in_a_unit():
    conv = partial(BayesConv, **LOG_VARIANCE)
    q = jf.nn.ConvUnit(40, conv=conv, norm="none").init(
        jax.random.key(0), normal(2, 5, 20), train=False, alone=False
    )
    (kernel,) = gaussians(q)
    assert abs(kernel.mean.var() / 0.1**2 - 1) < 4 * (2 / kernel.mean.size) ** 0.5


@each_estimator
def test_a_1x1_convolution_is_dense(estimator):
    x, rngs = normal(4, 3), RNGS
    layer = BayesDense(2, scale=0.5, estimator=estimator)
    q = layer.init(jax.random.key(0), x)
    as_kernel = lambda w: w.reshape(1, 1, *w.shape) if w.ndim == 2 else w
    y = BayesConv(2, (1, 1)).apply(jax.tree.map(as_kernel, q), x[:, None, None], rngs=rngs)
    np.testing.assert_allclose(y[:, 0, 0], layer.apply(q, x, rngs=rngs), rtol=1e-5)


@each_estimator
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 4, 3)])
def test_any_number_of_batch_axes(estimator, shape):
    if (estimator, shape) == ("antithetic", (3,)):
        pytest.skip("one example is no pair")
    layer = BayesDense(5, scale=1.0, estimator=estimator)
    q = layer.init(jax.random.key(0), normal(*shape))
    assert layer.apply(q, normal(*shape), rngs={"posterior": jax.random.key(1)}).shape == (
        *shape[:-1],
        5,
    )


@each_estimator
def test_the_layer_draws_kernel_and_bias(estimator):
    x = normal(4, 2)
    layer = BayesDense(2, scale=0.3, estimator=estimator, bias_init=nn.initializers.ones)
    q = layer.init(jax.random.key(0), x)
    y = draws(lambda key: layer.apply(q, x, rngs={"posterior": key}))
    assert_moments(y, layer.apply(mean(q), x), 0.3**2 * ((x**2).sum(-1, keepdims=True) + 1))


def test_each_leaf_has_its_own_estimator():
    x, layer = normal(4, 2), BayesDense(2)
    q = mean_field(layer.init(jax.random.key(0), x), scale=0.3, estimator="per_example")
    kernel = lambda path, leaf: path.endswith("kernel")
    q = mean_field(q, scale=0.7, estimator="antithetic", where=kernel)
    y = draws(lambda key: layer.apply(q, x, rngs={"posterior": key}))
    per_example, opposite = 0.3**2, -(x[0] @ x[2]) * 0.7**2
    assert_moments(
        y[:, 0] + y[:, 2],
        (layer.apply(mean(q), x)[::2]).sum(0),
        (2 * per_example + 0.7**2 * (x[0] @ x[0] + x[2] @ x[2]) + 2 * opposite),
    )


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


# Embeddings


TOKENS = jnp.array([[3, 1, 1], [0, 3, 4]])
EMBED = [{}, {"dtype": jnp.bfloat16}, {"num_embeddings": 1}]


def table_of(layer, scale=0.3, **options):
    params = layer.init(jax.random.key(0), TOKENS % layer.num_embeddings)
    return mean_field(mean(params), scale=scale, **options)


@pytest.mark.parametrize("options", EMBED)
def test_an_embedding_that_finds_an_array_is_that_of_flax(options):
    options = {"num_embeddings": 5, "features": 4} | options
    tokens = TOKENS % options["num_embeddings"]
    params = nn.Embed(**options).init(jax.random.key(0), tokens)
    q = BayesEmbed(**options, scale=0.2).init(jax.random.key(0), tokens)
    jax.tree.map(np.testing.assert_array_equal, mean(q), params)
    expected = nn.Embed(**options).apply(params, tokens)
    actual = BayesEmbed(**options).apply(params, tokens)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("options", EMBED)
@pytest.mark.parametrize("estimator", OF_A_TABLE)
def test_moments_of_an_embedding(estimator, options):
    layer = BayesEmbed(**{"num_embeddings": 5, "features": 4} | options)
    q, tokens = table_of(layer, estimator=estimator), TOKENS % layer.num_embeddings
    y = draws(lambda key: layer.apply(q, tokens, rngs={"posterior": key}))
    assert y.shape[1:] == (2, 3, 4)
    if options.get("dtype") is None:
        assert_moments(y, layer.apply(mean(q), tokens), 0.3**2)


def test_an_embedding_is_one_draw_of_the_table():
    layer, flax = BayesEmbed(5, 4), nn.Embed(5, 4)
    table = table_of(layer)["params"]["embedding"]
    noise = jax.random.normal(jax.random.split(RNGS["posterior"])[0], (5, 4))

    def outputs(estimator):
        return layer.apply(table_of(layer, estimator=estimator), TOKENS, rngs=RNGS)

    def at(noise, tokens=TOKENS):
        return flax.apply({"params": {"embedding": table.at(noise)}}, tokens)

    assert_same(outputs("reparam"), at(noise))
    opposite = jnp.concatenate([at(noise, TOKENS[:1]), at(-noise, TOKENS[1:])])
    assert_same(outputs("antithetic"), opposite)
    # Of two uses of one token, a table is drawn once, rows twice.
    for estimator, is_shared in [
        ("reparam", True),
        ("per_example", True),
        ("local_reparam", False),
    ]:
        y = outputs(estimator)
        assert bool((y[0, 1] == y[0, 2]).all()) is is_shared


def test_an_embedding_refuses_flipout():
    layer = BayesEmbed(5, 4)
    with pytest.raises(InputError, match="`estimator` of an embedding must be another than 'flip"):
        layer.apply(table_of(layer, estimator="flipout"), TOKENS, rngs=RNGS)


@pytest.mark.parametrize("estimator", ["reparam", "antithetic", "per_example"])
def test_lookup_and_attention_share_the_table(estimator):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            embed = BayesEmbed(5, 4, estimator=estimator, scale=0.5)
            rows = embed(tokens)
            return rows, embed.attend(rows)

    q = Net().init(jax.random.key(0), TOKENS)
    rows, scores = Net().apply(q, TOKENS, rngs=RNGS)
    # Every token's own score is the square of its row.
    own = jnp.take_along_axis(scores, TOKENS[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(own, (rows**2).sum(-1), rtol=1e-5)


# Partially Bayesian nets


def test_the_embedding_of_flax_takes_a_drawn_table():
    embed = nn.Embed(5, 4)
    q = mean_field(embed.init(jax.random.key(0), TOKENS), scale=0.1)
    drawn = sample(q, jax.random.key(1))
    rows = embed.apply(drawn, TOKENS)
    np.testing.assert_array_equal(rows, drawn["params"]["embedding"][TOKENS])


def test_one_column_may_be_bayesian():
    net = jf.FractalNet(3, columns=2, widths=(4,), norm="none", conv=BayesConv, dense=nn.Dense)
    x = normal(2, 4, 4, 3)
    params = mean(net.init(jax.random.key(0), x)["params"])
    q = mean_field(params, scale=0.3, where=lambda path, leaf: "column2_" in path)
    lone = net.apply({"params": q}, x, column=1)  # needs no key
    np.testing.assert_array_equal(lone, net.apply({"params": params}, x, column=1))
    for column in (2, None):
        apply = jax.jit(net.column(column).apply)
        y = [apply({"params": q}, x, rngs={"posterior": jax.random.key(i)}) for i in (1, 2)]
        assert jnp.all(y[0] != y[1])


# Random numbers


class Twice(nn.Module):
    """One layer at two places."""

    estimator: str = "reparam"

    def setup(self):
        self.layer = BayesDense(3, use_bias=False, scale=1.0, estimator=self.estimator)

    def __call__(self, x):
        return self.layer(x), self.layer(2 * x)


@pytest.mark.parametrize("estimator", ["reparam", "flipout", "antithetic", "per_example"])
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
