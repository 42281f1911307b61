import math
from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jfractal import ops, topology
from jfractal.errors import InputError
from jfractal.nn import (
    BayesConv,
    BayesDense,
    BayesEmbed,
    ConvUnit,
    DenseNet,
    DenseUnit,
    FractalNet,
    PlainNet,
    ResNet,
    SeparableUnit,
    TextNet,
    block_net,
    extract,
)
from jfractal.posterior import Gaussian, MeanField, mean, mean_field, sample
from jfractal.posterior.gaussian import gaussians
from tests.expressions import any_exprs

NARROW = (16, 32, 64, 128, 128)
CIFAR = (32, 32, 3)


def images(*shape):
    return jax.random.normal(jax.random.key(3), shape)


def fill(net, x):
    """Variables of a net by NumPy; to compile initialisers takes longer than the small nets do."""
    rng = np.random.default_rng(0)
    variables = jax.eval_shape(net.init, jax.random.key(0), x)
    params = lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), leaf.dtype)
    statistics = lambda leaf: jnp.asarray(rng.uniform(0.1, 0.5, leaf.shape), leaf.dtype)
    return {
        collection: jax.tree.map(params if collection == "params" else statistics, leaves)
        for collection, leaves in variables.items()
    }


def count_params(net):
    x = jax.ShapeDtypeStruct((1, *CIFAR), jnp.float32)
    params = jax.eval_shape(net.init, jax.random.key(0), x)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def closed_form_params(columns, widths, num_classes):
    """Convolutions without bias, a scale and a bias for each of their channels, the head."""
    total, channels = 0, 3
    for width in widths:
        kernels = columns * channels * width + (2**columns - 1 - columns) * width**2
        total += 9 * kernels + 2 * (2**columns - 1) * width
        channels = width
    return total + (channels + 1) * num_classes


# Counts


@pytest.mark.parametrize(("num_classes", "count"), [(10, 33_724_618), (100, 33_770_788)])
def test_the_net_of_the_paper_has_its_number_of_parameters(num_classes, count):
    assert count_params(FractalNet(num_classes)) == count
    assert closed_form_params(3, (64, 128, 256, 512, 512), num_classes) == count


@pytest.mark.parametrize(
    ("columns", "millions", "mmacs"),
    [
        (1, 0.26, 4.6),
        (2, 0.85, 19.2),
        (3, 2.13, 53.8),
        (4, 4.78, 129),
        (5, 10.18, 284),
        (6, 21.10, 599),
    ],
)
def test_the_narrow_nets_of_the_paper(columns, millions, mmacs):
    net = FractalNet(100, columns=columns, widths=NARROW)
    params = closed_form_params(columns, NARROW, 100)
    assert params / 1e6 == pytest.approx(millions, abs=0.005)
    assert net.num_flops(CIFAR) / 2e6 == pytest.approx(mmacs, rel=0.01)
    if columns <= 3:  # tracing the others takes seconds and adds nothing
        assert count_params(net) == params


COUNTED = [
    FractalNet(10),
    FractalNet(10, columns=4, norm="none", widths=(8, 8)),
    FractalNet(10, columns=2, widths=(8,), unit=partial(ConvUnit, order="pre", kernel_size=5)),
    DenseNet(10, widths=(4, 8), unit=partial(ConvUnit, order="pre")),
    ResNet(10, widths=(4, 8), unit=SeparableUnit),
    block_net(topology.doubly_recursive(3, tied=True, how="concat"), 10, widths=(4, 8)),
    block_net(topology.fractal(3, how="convex"), 10, widths=(4, 8), norm="layer"),
    block_net(topology.fractal(3, nested=True, how="max"), 10, widths=(4,), norm="group"),
]


@pytest.mark.parametrize("net", COUNTED)
def test_parameters_are_those_of_init(net):
    assert net.num_params(CIFAR) == count_params(net)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(any_exprs, st.sampled_from([3, 4]))
def test_costs_of_any_expression_are_those_of_its_layers(expr, channels):
    """Brute force: Flax runs the net, and every layer that runs is counted."""
    net = block_net(expr, 5, widths=(4, 4), norm="none")
    shape, macs = (8, 8, channels), []

    def count(layer, args, kwargs, context):
        y = layer(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(context.module, nn.Conv | nn.Dense):
            kernel = context.module.variables["params"]["kernel"]
            macs.append(kernel.size * math.prod(y.shape[1:-1]))
        return y

    with nn.intercept_methods(count):
        params = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, *shape)))["params"]
    assert net.num_flops(shape) == 2 * sum(macs)
    assert net.num_params(shape) == sum(leaf.size for leaf in jax.tree.leaves(params))


def test_flops_meet_the_closed_form():
    net, macs, channels = FractalNet(10), 0, 3
    for i, width in enumerate(net.widths):
        macs += 9 * (32 >> i) ** 2 * (3 * channels * width + 4 * width**2)
        channels = width
    assert net.num_flops(CIFAR) == 2 * (macs + 512 * 10)


def test_flops_of_the_columns_add_up_to_those_of_the_net():
    net = FractalNet(10)
    alone = [net.num_flops(CIFAR, column=c) for c in (1, 2, 3)]
    for flops, mmacs in zip([*alone, net.num_flops(CIFAR)], [68, 228, 549, 845]):
        assert flops / 2e6 == pytest.approx(mmacs, abs=0.5)
    assert sum(alone) == net.num_flops(CIFAR) + 2 * (2 * 512 * 10)  # the head is counted thrice
    assert PlainNet(10, depth=4).num_flops(CIFAR) == alone[-1]


@pytest.mark.parametrize("net", COUNTED)
def test_flops_by_unit_are_those_of_the_layers_of_init(net):
    x = jax.ShapeDtypeStruct((1, *CIFAR), jnp.float32)
    params = jax.eval_shape(net.init, jax.random.key(0), x)["params"]
    flops = net.unit_flops(CIFAR)
    assert list(flops) == [f"block{i}" for i in range(1, len(net.widths) + 1)]
    for i, (block, units) in enumerate(flops.items()):
        uses = [node.name for node, _ in topology.unit_channels(net.project(3).blocks[i], 1, 1)]
        for name, count in units.items():
            leaves = jax.tree.leaves(params[block][name])
            kernels = sum(leaf.size for leaf in leaves if leaf.ndim > 1)
            assert count == 2 * (32 >> i) ** 2 * kernels * uses.count(name)
        layers = {name for name, leaves in params[block].items() if isinstance(leaves, dict)}
        assert units.keys() == layers


def test_a_lone_column_reads_zeros_in_the_place_of_the_others():
    net = block_net(topology.fractal(3, how="concat"), 10, widths=(4,))
    flops = net.unit_flops((8, 8, 3), column=3)["block1"]
    assert [n / (2 * 64 * 9) for n in flops.values()] == [3 * 4, 4 * 4, 8 * 4, 4 * 4]


def test_a_net_with_projections_is_the_same_net():
    net = ResNet(3, widths=(4, 6))
    x = images(2, 8, 8, 3)
    variables, shown = fill(net, x), net.project(3)
    assert shown != net and shown.project(3) == shown
    np.testing.assert_array_equal(shown.apply(variables, x), net.apply(variables, x))
    fractal = FractalNet(3)
    assert fractal.project(3) == fractal


def test_flops_are_about_what_xla_counts():
    # XLA leaves the multiplications with the padding out, and counts ReLU, join and pool.
    net = FractalNet(10, columns=2, widths=(8,), norm="none")
    x = jnp.zeros((1, 32, 32, 3))
    params = jax.eval_shape(net.init, jax.random.key(0), x)
    cost = jax.jit(net.apply).lower(params, x).cost_analysis()
    assert cost["flops"] == pytest.approx(net.num_flops((32, 32, 3)), rel=0.1)


def test_plain_nets_count_their_depth():
    net = PlainNet(10, depth=2, widths=(4, 8), norm="none")
    assert count_params(net) == 9 * (3 * 4 + 4 * 4 + 4 * 8 + 8 * 8) + 8 * 10 + 10


# One small net


@pytest.fixture(scope="module")
def net():
    return FractalNet(5, columns=3, widths=(4, 6))


@pytest.fixture(scope="module")
def variables(net):
    return fill(net, images(2, 8, 8, 3))


def chain(variables, x, columns):
    """The net's own units in a chain, from Flax's parts."""
    for block, column in zip(("block1", "block2"), columns):
        for k in range(1, 2 ** (column - 1) + 1):
            name = f"column{column}_unit{k}"
            unit = variables["params"][block][name]
            statistics = variables["batch_stats"][block][name]["norm"]["alone"]
            features = unit["norm"]["bias"].size
            x = nn.Conv(features, (3, 3), use_bias=False).apply({"params": unit["conv"]}, x)
            x = nn.BatchNorm(use_running_average=True).apply(
                {"params": unit["norm"], "batch_stats": statistics}, x
            )
            x = nn.relu(x)
        x = nn.max_pool(x, (2, 2), (2, 2))
    return nn.Dense(5).apply({"params": variables["params"]["head"]}, x.mean((1, 2)))


@pytest.mark.parametrize("column", [1, 2, 3, (3, 1), (1, 2)])
def test_a_column_is_a_chain_of_the_units_of_the_net(net, variables, column):
    x = images(2, 8, 8, 3)
    actual = jax.jit(partial(net.apply, column=column))(variables, x)
    columns = column if isinstance(column, tuple) else (column,) * 2
    expected = jax.jit(partial(chain, columns=columns))(variables, x)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("column", [None, 2])
def test_training_touches_the_statistics_of_its_route_only(net, variables, column):
    @jax.jit
    def train(variables, x):
        return net.apply(variables, x, train=True, column=column, mutable=["batch_stats"])

    before = variables["batch_stats"]
    after = train(variables, images(2, 8, 8, 3))[1]["batch_stats"]
    for block, name in [(b, n) for b in before for n in before[b]]:
        for route in ("joined", "alone"):
            ran = (
                route == "joined"
                if column is None
                else (route == "alone" and name.startswith(f"column{column}_"))
            )
            old, new = before[block][name]["norm"][route], after[block][name]["norm"][route]
            for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True):
                assert bool(jnp.any(a != b)) == ran, (block, name, route)


def test_the_loss_of_a_column_trains_that_column(net, variables):
    def loss(params, x):
        return jnp.sum(net.apply(variables | {"params": params}, x, column=2) ** 2)

    gradient = jax.jit(jax.grad(loss))(variables["params"], images(2, 8, 8, 3))
    for block in ("block1", "block2"):
        for name, leaves in gradient[block].items():
            moved = any(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(leaves))
            assert moved == name.startswith("column2_")
    assert jnp.any(gradient["head"]["kernel"] != 0)


def test_the_whole_net_is_that_of_pytorch(net, variables):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional

    def tensor(x):
        return torch.from_numpy(np.asarray(x).copy())

    def unit(block, name, x):
        params = variables["params"][block][name]
        statistics = variables["batch_stats"][block][name]["norm"]["joined"]
        kernel = tensor(params["conv"]["kernel"]).permute(3, 2, 0, 1)
        x = functional.batch_norm(
            functional.conv2d(x, kernel, padding=1),
            tensor(statistics["mean"]),
            tensor(statistics["var"]),
            tensor(params["norm"]["scale"]),
            tensor(params["norm"]["bias"]),
        )
        return functional.relu(x)

    x = images(2, 8, 8, 3)
    y = tensor(x).permute(0, 3, 1, 2)
    for block in ("block1", "block2"):
        run = partial(unit, block)
        pair = run("column3_unit2", run("column3_unit1", y))
        middle = (run("column2_unit1", y) + pair) / 2
        pair = run("column3_unit4", run("column3_unit3", middle))
        y = (run("column1_unit1", y) + run("column2_unit2", middle) + pair) / 3
        y = functional.max_pool2d(y, 2)
    head = variables["params"]["head"]
    y = y.mean((2, 3)) @ tensor(head["kernel"]) + tensor(head["bias"])
    np.testing.assert_allclose(jax.jit(net.apply)(variables, x), y.numpy(), rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only_and_block_by_block():
    net = FractalNet(3, columns=1, widths=(4, 4), dropout=(0.0, 0.5), norm="none")
    assert net.dropout == (0.0, 0.5)
    assert FractalNet(3, widths=(4, 4), dropout=0.1).dropout == (0.1, 0.1)
    x = images(2, 4, 4, 3)
    params = fill(net, x)
    rngs = [{"dropout": jax.random.key(seed)} for seed in (0, 0, 1)]
    first, again, other = (net.apply(params, x, train=True, rngs=rng) for rng in rngs)
    np.testing.assert_array_equal(first, again)
    assert jnp.any(first != other)
    net.apply(params, x)  # needs no key


def test_the_head_is_on_the_mean_over_what_is_left_of_the_map():
    net = PlainNet(3, depth=1, widths=(4,), norm="none")
    x = images(2, 5, 7, 3)
    params = fill(net, x)["params"]
    y = nn.Conv(4, (3, 3), use_bias=False).apply({"params": params["block1"]["unit1"]["conv"]}, x)
    y = ops.max_pool(nn.relu(y)).mean((1, 2))
    expected = nn.Dense(3).apply({"params": params["head"]}, y)
    np.testing.assert_allclose(net.apply({"params": params}, x), expected, rtol=1e-5, atol=1e-6)


class Apply(chex.TestCase):
    """With and without jit."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_logits_of_any_norm_and_size(self):
        for norm in ("frn", "batch", "none", "group"):
            net = FractalNet(5, columns=1, widths=(4, 8), norm=norm)
            x = images(2, 7, 5, 1)
            variables = fill(net, x)
            assert ("batch_stats" in variables) == (norm == "batch")
            y = self.variant(net.apply)(variables, x)
            chex.assert_shape(y, (2, 5))
            assert jnp.isfinite(y).all()


# Bayesian nets


@pytest.mark.parametrize(
    ("conv", "estimator"),
    [
        (BayesConv, "reparam"),
        (partial(BayesConv, estimator="flipout"), "flipout"),
        (partial(partial(BayesConv, scale=0.2), estimator="local_reparam"), "local_reparam"),
    ],
)
def test_a_bayesian_convolution_brings_a_bayesian_head(conv, estimator):
    net = FractalNet(3, columns=2, widths=(4,), conv=conv, norm="none")
    x = images(2, 2, 2, 3)
    variables = fill(net, x)
    assert len(gaussians(variables)) == 3 + 2  # three kernels; kernel and bias of the head
    assert all(leaf.estimator == estimator for leaf in gaussians(variables))
    apply = jax.jit(lambda key: net.apply(variables, x, rngs={"posterior": key}))
    first, second = apply(jax.random.key(1)), apply(jax.random.key(2))
    assert first.shape == (2, 3) and jnp.all(first != second)


def test_the_head_shares_the_scale_of_the_convolutions():
    net = PlainNet(3, depth=1, widths=(4,), norm="none", conv=partial(BayesConv, scale=0.2))
    for leaf in gaussians(net.init(jax.random.key(0), images(1, 2, 2, 3))):
        np.testing.assert_allclose(leaf.std, 0.2, rtol=1e-5)


def test_the_head_may_be_chosen():
    options = {"columns": 1, "widths": (4,), "norm": "none"}
    x = images(2, 2, 2, 3)
    assert len(gaussians(fill(FractalNet(3, dense=BayesDense, **options), x))) == 2
    assert len(gaussians(fill(FractalNet(3, conv=BayesConv, dense=nn.Dense, **options), x))) == 1


def test_a_bayesian_net_at_its_mean_is_the_deterministic_net():
    x = images(2, 4, 4, 3)
    net = FractalNet(3, columns=2, widths=(4,), norm="frn")
    bayes = FractalNet(3, columns=2, widths=(4,), norm="frn", conv=BayesConv)
    params = mean(fill(bayes, x))
    chex.assert_trees_all_equal_shapes_and_dtypes(params, fill(net, x))
    np.testing.assert_array_equal(jax.jit(bayes.apply)(params, x), jax.jit(net.apply)(params, x))


def test_vmap_over_draws_is_a_loop_over_draws():
    x = images(2, 4, 4, 3)
    net = FractalNet(3, columns=2, widths=(4,), norm="frn")
    q = MeanField(mean_field(fill(net, x)["params"], scale=0.1))
    draws = [q.sample(key) for key in jax.random.split(jax.random.key(1), 3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *draws)
    apply = jax.jit(net.apply)
    together = jax.jit(jax.vmap(net.apply, (0, None)))(stacked, x)
    for draw, y in zip(draws, together, strict=True):
        np.testing.assert_allclose(y, apply(draw, x), rtol=1e-4, atol=1e-5)


# Errors


TWO_OF_A_NAME = topology.Join((topology.Unit("a", 1), topology.Unit("a", 2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FractalNet(10, columns=0), "`columns` must be at least 1, got 0"),
        (lambda: PlainNet(10, depth=0), "`num_units` must be at least 1, got 0"),
        (lambda: FractalNet(0), "`num_classes` must be at least 1, got 0"),
        (lambda: FractalNet(10, widths=()), r"`widths` must be one or more .*, got \(\)"),
        (lambda: FractalNet(10, widths=(8, 0)), "`widths` must be at least 1, got 0"),
        (lambda: FractalNet(10, dropout=1.0), r"`dropout` must be in \[0, 1\), got 1.0"),
        (lambda: FractalNet(10, dropout=-0.1), r"`dropout` must be in \[0, 1\), got -0.1"),
        (lambda: FractalNet(10, dropout=(0.1, 0.2)), "or one for each of 5 blocks"),
        (lambda: FractalNet(10, norm="weight"), "`norm` must be one of .*, got 'weight'"),
        (lambda: FractalNet(10, kernel_init="xavier"), "`kernel_init` must be one of .*'xavier'"),
        (lambda: block_net(topology.fractal, 10), "must be made of Unit.*, got <function"),
        (lambda: block_net(TWO_OF_A_NAME, 10), "units of equal name are one layer, but .* differ"),
    ],
)
def test_arguments_out_of_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("size", [(3, 8), (8, 3)])
def test_too_small_an_image_is_refused(size):
    net = FractalNet(10, columns=1, widths=(2, 2))
    with pytest.raises(InputError, match=f"`x` must be at least 4 .*, got {size[0]}×{size[1]}"):
        jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, *size, 3)))
    with pytest.raises(InputError, match=f"`x` must be at least 4 .*, got {size[0]}×{size[1]}"):
        net.num_flops((*size, 3))


@pytest.mark.parametrize("unit", [ConvUnit, SeparableUnit])
def test_flat_features_are_no_image(unit):
    net = FractalNet(10, columns=1, widths=(2,), unit=unit)
    with pytest.raises(InputError, match=r"`x` must have a spatial axis .*, got .*\(1, 8\)"):
        jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8)))


def test_a_unit_has_an_order():
    net = FractalNet(10, columns=1, widths=(2,), unit=partial(ConvUnit, order="before"))
    with pytest.raises(InputError, match="`order` must be one of post, pre, got 'before'"):
        jax.eval_shape(net.init, jax.random.key(0), images(1, 4, 4, 3))


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_the_rate_of_drop_path_is_a_probability(net, variables, rate):
    with pytest.raises(InputError, match=rf"`drop_path` must be in \[0, 1\], got {rate}"):
        net.apply(variables, images(1, 8, 8, 3), drop_path=rate)


def test_a_column_must_exist(net, variables):
    with pytest.raises(InputError, match=r"`column` must be one of \(1, 2, 3\), got 4"):
        net.apply(variables, images(1, 8, 8, 3), column=4)
    with pytest.raises(InputError, match="`column` must be one of"):
        net.num_flops(CIFAR, column=0)
    assert net.columns == (1, 2, 3)
    with pytest.raises(InputError, match=r"one for each of 2 blocks, got \(1, 2, 3\)"):
        net.column((1, 2, 3))


# A column for each block


def test_blocks_may_run_different_columns(net, variables):
    x = images(2, 8, 8, 3)
    y = net.apply(variables, x, column=(3, None))
    np.testing.assert_array_equal(y, net.column((3, None)).apply(variables, x))
    assert net.depth(column=(3, None)) == 8 and net.depth(column=(2, 1)) == 3
    assert net.depth() == 8 and net.columns == (1, 2, 3)
    assert jnp.any(y != net.apply(variables, x, column=3))
    assert jnp.any(y != net.apply(variables, x))


def test_flops_of_mixed_columns_lie_between(net):
    low, mixed, high = (net.num_flops((8, 8, 3), column=c) for c in (1, (1, None), None))
    assert low < mixed < high
    assert net.column((1, None)).num_flops((8, 8, 3)) == mixed


# Extraction


@pytest.mark.parametrize("column", [None, 1, 2, 3, (3, 1), (None, 2)])
@pytest.mark.parametrize("norm", ["batch", "batch_shared", "frn"])
def test_an_extracted_net_has_the_same_outputs(column, norm):
    net = FractalNet(5, columns=3, widths=(4, 6), norm=norm)
    x = images(2, 8, 8, 3)
    variables = fill(net, x)
    alone, leaves = extract(net, variables, column=column)
    assert set(leaves) == {"params"}
    expected = net.apply(variables, x, column=column)
    np.testing.assert_allclose(alone.apply(leaves, x), expected, rtol=1e-3, atol=1e-4)
    shapes = jax.tree.map(jnp.shape, leaves)
    assert shapes == jax.tree.map(jnp.shape, jax.eval_shape(alone.init, jax.random.key(0), x))
    assert alone.num_flops((8, 8, 3)) == net.num_flops((8, 8, 3), column=column)
    if isinstance(column, int):
        assert all(topology.join_sizes(expr) == () for expr in alone.blocks)


def test_projections_are_extracted_as_they_are():
    net = ResNet(5, depth=2, widths=(4, 6))
    x = images(2, 8, 8, 3)
    variables = fill(net, x)
    expected = net.apply(variables, x)
    for shown in (net, net.project(3)):
        alone, leaves = extract(shown, variables)
        np.testing.assert_allclose(alone.apply(leaves, x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("unit", [SeparableUnit, partial(ConvUnit, kernel_size=1)])
def test_any_unit_can_be_folded(unit):
    net = FractalNet(5, columns=2, widths=(4,), unit=unit)
    variables = fill(net, images(2, 8, 8, 3))
    alone, leaves = extract(net, variables, column=2)
    x = images(2, 8, 8, 3)
    expected = net.apply(variables, x, column=2)
    np.testing.assert_allclose(alone.apply(leaves, x), expected, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_extracted_is_refused():
    x = images(1, 4, 4, 3)
    pre = FractalNet(3, columns=2, widths=(4,), unit=partial(ConvUnit, order="pre"))
    with pytest.raises(InputError, match="a batch norm in front of each layer"):
        extract(pre, fill(pre, x), column=1)
    concat = block_net(topology.fractal(2, how="concat"), 3, widths=(4,))
    with pytest.raises(InputError, match="`column` 1 leaves a concat or a convex join"):
        extract(concat, fill(concat, x), column=1)


# Any rule, any unit


RULES = {
    "fractal": topology.fractal(2),
    "nested": topology.fractal(3, nested=True),
    "tied": topology.doubly_recursive(3, tied=True),
    "tutorial": topology.doubly_recursive(2, how="concat"),
    "tied tutorial": topology.doubly_recursive(2, how="concat", tied=True),
    "residual": topology.residual(2),
    "dense": topology.dense(2),
    "max": topology.fractal(2, how="max"),
    "convex": topology.fractal(3, how="convex"),
}


@pytest.mark.parametrize("rule", RULES)
def test_gradients_are_those_of_double_precision(rule):
    net = block_net(RULES[rule], 3, widths=(4, 6), norm="layer")
    x = images(2, 8, 8, 3)
    params = fill(net, x)["params"]
    gradient = jax.jit(jax.grad(lambda params, x: (net.apply({"params": params}, x) ** 2).sum()))
    single = gradient(params, x)
    with jax.enable_x64(True):
        double = gradient(*jax.tree.map(lambda a: np.asarray(a, np.float64), (params, x)))
    for ours, exact in zip(jax.tree.leaves(single), jax.tree.leaves(double), strict=True):
        assert exact.dtype == np.float64
        np.testing.assert_allclose(ours, exact, atol=1e-3 * abs(np.asarray(exact)).max())


@pytest.mark.parametrize("make", [ResNet, DenseNet, PlainNet, FractalNet])
@pytest.mark.parametrize(
    ("unit", "shape"),
    [
        (None, (8, 8, 3)),
        (None, (9, 3)),
        (SeparableUnit, (8, 8, 3)),
        (partial(ConvUnit, order="pre"), (8, 8, 3)),
        (DenseUnit, (7,)),
    ],
)
def test_any_net_of_any_unit(make, unit, shape):
    net = make(3, widths=(4, 6), unit=unit)
    x = images(2, *shape)
    variables = fill(net, x)
    assert net.apply(variables, x).shape == (2, 3)
    # Multiply-adds at one position each are the kernels' sizes: parameters without norms and head.
    sizes = {
        jax.tree_util.keystr(path): leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"])
    }
    kernels = sum(n for path, n in sizes.items() if "kernel" in path)
    one = (1,) * (len(shape) - 1)
    assert net.num_params(shape) == sum(sizes.values())
    if not one:
        assert net.num_flops(shape) == 2 * kernels


def test_costs_of_units():
    conv, separable, dense = (make(8) for make in (ConvUnit, SeparableUnit, DenseUnit))
    assert conv.macs(4, 2) == 9 * 4 * 8 and conv.macs(4, 1) == 3 * 4 * 8
    assert separable.macs(4, 2) == 9 * 4 + 4 * 8
    assert dense.macs(4, 0) == 4 * 8
    for unit, shape in ((conv, (1, 1, 1, 4)), (separable, (1, 1, 1, 4)), (dense, (1, 4))):
        params = jax.eval_shape(
            partial(unit.init, train=False, alone=False), jax.random.key(0), jnp.zeros(shape)
        )["params"]
        kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
        assert sum(leaf.size for leaf in kernels) == unit.macs(4, len(shape) - 2)


def test_the_orders_of_a_unit():
    x = images(2, 4, 4, 3)
    post, pre = (ConvUnit(4, order=order, norm="none") for order in ("post", "pre"))
    params = post.init(jax.random.key(0), x, train=False, alone=False)
    conv = lambda x: nn.Conv(4, (3, 3), use_bias=False).apply(
        {"params": params["params"]["conv"]}, x
    )
    run = lambda unit: unit.apply(params, x, train=False, alone=False)
    np.testing.assert_allclose(run(post), nn.relu(conv(x)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(run(pre), conv(nn.relu(x)), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def text_net():
    net = TextNet(
        FractalNet(2, columns=2, widths=(4, 6), kernel_init="aligned"),
        vocabulary_size=11,
        features=5,
        dropout=0.5,
    )
    tokens = jnp.array([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 0, 0]])
    return net, tokens, fill(net, tokens)


def test_a_text_net_embeds_and_runs_its_net(text_net):
    net, tokens, variables = text_net
    embedded = variables["params"]["embedding"]["embedding"][tokens]
    inner = {name: collection["net"] for name, collection in variables.items()}
    for column in (None, (2, 1)):
        np.testing.assert_allclose(
            net.apply(variables, tokens, column=column),
            net.net.apply(inner, embedded, column=column),
            rtol=1e-5,
        )


def test_columns_of_a_text_net(text_net):
    net, tokens, variables = text_net
    assert net.columns == (1, 2)
    for column in (2, (1, 2)):
        alone = net.column(column)
        np.testing.assert_array_equal(
            alone.apply(variables, tokens), net.apply(variables, tokens, column=column)
        )
        assert alone.depth() == net.depth(column=column) == net.net.depth(column=column)
    with pytest.raises(InputError, match="`column` must be one of"):
        net.column(3)


def test_a_lone_column_of_a_text_net_is_a_convolution_along_the_text():
    """Against numpy: one block, one unit of kernel size 3, no norm, pool by 2, mean, head."""
    net = TextNet(FractalNet(3, columns=2, widths=(4,), norm="none"), vocabulary_size=7, features=5)
    tokens = jnp.array([[1, 2, 3, 4, 5], [6, 5, 4, 0, 0]])
    variables = fill(net, tokens)
    params = jax.tree.map(np.asarray, variables["params"])
    embedded = params["embedding"]["embedding"][np.asarray(tokens)]
    padded = np.pad(embedded, ((0, 0), (1, 1), (0, 0)))
    kernel = params["net"]["block1"]["column1_unit1"]["conv"]["kernel"]
    maps = np.maximum(sum(padded[:, i : i + 5] @ kernel[i] for i in range(3)), 0)
    pooled = np.maximum(maps[:, 0:4:2], maps[:, 1:4:2])
    head = params["net"]["head"]
    expected = pooled.mean(axis=1) @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(net.apply(variables, tokens, column=1), expected, rtol=1e-4)


def test_costs_of_a_text_net(text_net):
    net, tokens, variables = text_net
    sizes = [leaf.size for leaf in jax.tree.leaves(variables["params"])]
    assert net.num_params(tokens.shape[1:]) == sum(sizes)
    # Column 1: 3·6·5·4 and, after the pool, 3·3·4·6 multiply-adds; the head 6·2.
    assert net.num_flops((6,), column=1) == 2 * (3 * 6 * 5 * 4 + 3 * 3 * 4 * 6 + 6 * 2)
    assert net.num_flops((6,), column=1) == net.column(1).num_flops((6,))


def test_dropout_of_an_embedding_is_of_training_only(text_net, getkey):
    net, tokens, variables = text_net
    run = lambda **rngs: net.apply(
        variables, tokens, train=True, mutable=["batch_stats"], rngs=rngs
    )[0]
    assert jnp.any(run(dropout=getkey()) != run(dropout=getkey()))
    np.testing.assert_array_equal(net.apply(variables, tokens), net.apply(variables, tokens))


def test_depth_of_a_residual_net_is_even():
    with pytest.raises(InputError, match="`depth` must be an even number of at least 2, got 3"):
        ResNet(10, depth=3)


def test_a_text_net_may_be_bayesian_throughout():
    net = TextNet(
        FractalNet(2, columns=2, widths=(4,), norm="none", conv=BayesConv),
        vocabulary_size=7,
        features=5,
        embed=BayesEmbed,
    )
    tokens = jnp.array([[1, 2, 3, 4]])
    params = net.init(jax.random.key(0), tokens)["params"]
    assert isinstance(params["embedding"]["embedding"], Gaussian)
    drawn = net.apply({"params": sample(params, jax.random.key(1))}, tokens)
    assert drawn.shape == (1, 2) and not jnp.allclose(
        drawn, net.apply({"params": mean(params)}, tokens)
    )
