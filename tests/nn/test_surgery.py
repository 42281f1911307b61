import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal import topology
from jfractal.errors import InputError
from jfractal.nn import (
    BayesDense,
    FractalNet,
    ResNet,
    block_net,
    extract,
    keep_columns,
    path_snr,
    prune_paths,
    prune_units,
)
from jfractal.posterior import group_snr, mean, mean_field

# Dense layers


class MLP(nn.Module):
    features: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        for n in self.features[:-1]:
            x = nn.relu(BayesDense(n, bias_init=nn.initializers.normal(1.0))(x))
        return BayesDense(self.features[-1])(x)


LAYERS = ("BayesDense_0", "BayesDense_1", "BayesDense_2")
X = jax.random.normal(jax.random.key(7), (4, 3))


WEAK = {"BayesDense_0": [1, 4], "BayesDense_1": [0]}


@pytest.fixture(scope="module")
def mlp():
    """A net and its tree; the means into and out of the weak units are near zero."""
    net = MLP((5, 4, 2))
    params = mean(net.init(jax.random.key(0), X)["params"])
    for (name, units), after in zip(WEAK.items(), LAYERS[1:]):
        params[name] = {
            k: w.at[..., jnp.array(units)].multiply(1e-3) for k, w in params[name].items()
        }
        params[after]["kernel"] = params[after]["kernel"].at[jnp.array(units)].multiply(1e-3)
    return net, mean_field(params, scale=0.1)


def test_units_leave_with_their_weights(mlp):
    _, q = mlp
    small = prune_units(q, LAYERS, 0.35)
    first, second, outputs = np.array([0, 2, 3]), np.array([1, 2, 3]), np.arange(2)
    left = zip(LAYERS, (np.arange(3), first, second), (first, second, outputs))
    for name, rows, columns in left:
        expected = {
            "kernel": jax.tree.map(lambda w: w[rows][:, columns], q[name]["kernel"]),  # noqa: B023
            "bias": jax.tree.map(lambda w: w[columns], q[name]["bias"]),  # noqa: B023
        }
        chex.assert_trees_all_equal(small[name], expected)


def test_the_smaller_net_is_the_one_without_the_weights_out(mlp):
    net, q = mlp
    small = prune_units(q, LAYERS, 0.35)
    features = tuple(small[name]["bias"].mean.size for name in LAYERS)
    assert features == (3, 3, 2)
    silent = mean(q)
    for name, units in zip(LAYERS[1:], WEAK.values()):
        silent[name]["kernel"] = silent[name]["kernel"].at[jnp.array(units)].set(0)
    np.testing.assert_allclose(
        MLP(features).apply({"params": mean(small)}, X),
        net.apply({"params": silent}, X),
        rtol=1e-5,
        atol=1e-5,
    )


def test_the_best_unit_of_a_layer_stays(mlp):
    _, q = mlp
    best = prune_units(q, LAYERS, 1.0)
    assert [best[name]["bias"].mean.size for name in LAYERS] == [1, 1, 2]
    unpruned = prune_units(q, LAYERS, 0.0)
    chex.assert_trees_all_equal(unpruned, q)


def test_layers_of_arrays_and_without_bias_are_cut_alike():
    net = nn.Sequential([nn.Dense(6, use_bias=False), nn.relu, nn.Dense(2)])
    params = net.init(jax.random.key(0), X)["params"]
    q = mean_field(params, scale=0.1, where=lambda path, leaf: path == "layers_0/kernel")
    small = prune_units(q, ("layers_0", "layers_2"), 0.5)
    assert small["layers_0"]["kernel"].mean.shape == (3, 3)
    assert small["layers_2"]["kernel"].shape == (3, 2) and small["layers_2"]["bias"].shape == (2,)


def test_what_is_no_chain_is_refused(mlp):
    _, q = mlp
    with pytest.raises(InputError, match=r"`fraction` must be in \[0, 1\], got 2"):
        prune_units(q, LAYERS, 2)
    for layers in [("BayesDense_0",), ("BayesDense_0", "Dense_7")]:
        with pytest.raises(InputError, match="`layers` must name two or more layers"):
            prune_units(q, layers, 0.5)
    with pytest.raises(InputError, match=r"must be a chain of dense layers.*'BayesDense_2': \(4, "):
        prune_units(q, ("BayesDense_0", "BayesDense_2"), 0.5)


# Nets of blocks

IMAGES = jax.random.normal(jax.random.key(8), (2, 8, 8, 3))


def lift(net, *weak):
    """Variables of a net; of low signal-to-noise where paths contain one of the names."""
    rng = np.random.default_rng(0)
    fill = lambda leaf: jnp.asarray(rng.uniform(0.1, 0.6, leaf.shape), jnp.float32)
    variables = jax.tree.map(fill, jax.eval_shape(net.init, jax.random.key(0), IMAGES))
    q = mean_field(variables["params"], scale=1e-3)
    where = lambda path, leaf: any(name in path for name in weak)
    return variables | {"params": mean_field(q, scale=10.0, where=where)}


def assert_dropped(small, net, variables, **alive):
    """The smaller net has the outputs of the net with join inputs dropped, and nothing to spare."""
    net_small, left = small
    rest = {"drop_path": jax.tree.map(jnp.array, alive, is_leaf=lambda x: isinstance(x, list))}
    centre = {**variables, "params": mean(variables["params"])}
    np.testing.assert_allclose(
        jax.jit(net_small.apply)({**left, "params": mean(left["params"])}, IMAGES),
        jax.jit(net.apply)(centre | rest, IMAGES),
        rtol=1e-5,
        atol=1e-5,
    )
    shapes = jax.eval_shape(net_small.init, jax.random.key(0), IMAGES)
    assert jax.tree.map(jnp.shape, mean(left)) == jax.tree.map(jnp.shape, dict(shapes))


@pytest.mark.parametrize("norm", ["batch", "frn"])
def test_weak_paths_leave(norm):
    net = FractalNet(5, columns=3, widths=(4, 6), norm=norm)
    variables = lift(net, "block1/column3_unit4", "block2/column2_unit1/")
    small = prune_paths(net, variables, 2 / 10)
    assert_dropped(
        small,
        net,
        variables,
        block1={"join1": [True, True], "join2": [True, True, False]},
        block2={"join1": [False, True], "join2": [True, True, True]},
    )
    gone = [
        {*topology.units(a)} - {*topology.units(b)} for a, b in zip(net.blocks, small[0].blocks)
    ]
    assert gone == [{"column3_unit3", "column3_unit4"}, {"column2_unit1"}]
    assert small[0].num_flops((8, 8, 3)) < net.num_flops((8, 8, 3))


def test_snr_of_a_path_is_that_of_what_leaves_with_it():
    net = FractalNet(5, columns=3, widths=(4,), norm="frn")
    variables = lift(net, "column2")
    ratios = path_snr(net, variables["params"])
    units = [
        [["column2_unit1"], ["column3_unit1", "column3_unit2"]],
        [["column1_unit1"], ["column2_unit2"], ["column3_unit3", "column3_unit4"]],
    ]
    for join, names in zip(ratios[0], units):
        expected = [group_snr({k: variables["params"]["block1"][k] for k in ks}) for ks in names]
        np.testing.assert_allclose(join, expected, rtol=1e-5)


def test_of_every_join_the_best_input_stays():
    net = FractalNet(5, columns=3, widths=(4,), norm="frn")
    variables = lift(net, "column1", "column3")
    small, left = prune_paths(net, variables, 1.0)
    assert small.blocks == (topology.restrict(net.blocks[0], column=2),)
    assert set(left["params"]["block1"]) == {"column2_unit1", "column2_unit2"}
    same, _ = prune_paths(net, variables, 0.0)
    assert topology.path_lengths(same.blocks[0]) == topology.path_lengths(net.blocks[0])


def test_a_residual_branch_may_leave_and_a_skip_stays():
    net = ResNet(5, depth=4, widths=(4,), norm="frn").project(3)
    variables = lift(net, "block2_unit2")
    assert path_snr(net, variables["params"])[0][1][1] == np.inf
    small = prune_paths(net, variables, 1 / 4)
    alive = {"join1": [True, True], "join2": [False, True]}
    assert_dropped(small, net, variables, block1=alive)
    assert not any("block2" in name for name in topology.units(small[0].blocks[0]))


@pytest.mark.parametrize("norm", ["batch", "frn"])
def test_columns_are_kept(norm):
    net = FractalNet(5, columns=3, widths=(4, 6), norm=norm)
    variables = lift(net)
    alive = {"join1": [False, True], "join2": [True, False, True]}
    small = keep_columns(net, variables, (1, 3))
    assert_dropped(small, net, variables, block1=alive, block2=alive)
    assert small[0].columns == (1, 3)


def test_one_column_is_the_net_that_runs_it():
    net = FractalNet(5, columns=3, widths=(4, 6), norm="frn")
    variables = {"params": mean(lift(net)["params"])}
    small, left = keep_columns(net, variables, (2,))
    expected = jax.jit(net.column(2).apply)(variables, IMAGES)
    np.testing.assert_allclose(jax.jit(small.apply)(left, IMAGES), expected, rtol=1e-5, atol=1e-5)


def test_batch_norms_of_what_is_left_can_be_folded_in():
    net = FractalNet(5, columns=3, widths=(4, 6))
    small, left = keep_columns(net, lift(net), (1, 3))
    left["params"] = mean(left["params"])
    folded, leaves = extract(small, left)
    np.testing.assert_allclose(
        jax.jit(folded.apply)(leaves, IMAGES),
        jax.jit(small.apply)(left, IMAGES),
        rtol=1e-3,
        atol=1e-3,
    )


def test_what_cannot_be_spared_is_refused():
    net = FractalNet(5, columns=2, widths=(4,), norm="frn")
    variables = lift(net)
    for columns in [(), (1, 3)]:
        with pytest.raises(InputError, match=r"`columns` must be one or more of \(1, 2\), got"):
            keep_columns(net, variables, columns)
    with pytest.raises(InputError, match=r"`fraction` must be in \[0, 1\], got -1"):
        prune_paths(net, variables, -1)
    for how in ("concat", "convex"):
        joined = block_net(topology.fractal(2, how=how), 5, widths=(4,), norm="frn")
        with pytest.raises(InputError, match="block 1 of `net` has joins that cannot lose"):
            keep_columns(joined, lift(joined), (1,))
    hidden = ResNet(5, depth=2, widths=(4,), norm="frn")
    with pytest.raises(InputError, match=r"give `net.project\(channels\)`"):
        prune_paths(hidden, lift(hidden), 0.5)
