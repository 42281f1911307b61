from collections import Counter
from functools import partial
from itertools import product
from math import prod

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal import topology
from jfractal.errors import InputError
from jfractal.nn import Block, ConvUnit
from jfractal.nn.joins import draw_alive, join
from jfractal.topology import Identity, Join, Seq, Unit
from tests.expressions import enumerate_paths

PRIMES = [2, 3, 5, 7, 11, 13, 17]


class Times(nn.Module):
    """A linear unit: multiplies by its one weight."""

    features: int

    @nn.compact
    def __call__(self, x, *, train, alone):
        return x * self.param("w", nn.initializers.ones, ())


def linear_block(expr):
    """The block, and weights by unit name as `apply` takes them; all primes."""
    weights = dict(zip(topology.units(expr), map(float, PRIMES)))
    return Block(expr, 1, Times), {"params": {name: {"w": w} for name, w in weights.items()}}


def run(block, variables, **options):
    """The factor by which a block of linear units multiplies its input."""
    return block.apply(variables, jnp.ones((1, 1)), train=False, **options)[0, 0]


def masks(num_inputs):
    """Every mask that leaves an input alive."""
    return [mask for mask in product([True, False], repeat=num_inputs) if any(mask)]


# Drop-path


@pytest.mark.parametrize("rate", [0.15, 0.6])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_effective_rate_of_dropping(k, rate):
    n = 40_000
    keys = jax.random.split(jax.random.key(0), n)
    alive = np.asarray(jax.jit(jax.vmap(lambda key: draw_alive(key, k, rate)))(keys))
    assert alive.shape == (n, k) and alive.any(axis=1).all()
    effective = rate - rate**k / k
    error = np.sqrt(effective * (1 - effective) / n)
    assert np.all(abs((~alive).mean(0) - effective) < 4 * error)


def test_the_ends_of_the_range():
    for seed in range(5):
        assert draw_alive(jax.random.key(seed), 3, 0.0).all()
        assert draw_alive(jax.random.key(seed), 3, 1.0).sum() == 1
        assert draw_alive(jax.random.key(seed), 1, 0.9).all()


class JoinTest(chex.TestCase):
    """With and without jit."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_a_join_is_over_the_survivors(self):
        inputs = [jnp.full((2, 3), value) for value in (1.0, 10.0, 100.0)]
        for mask in masks(3):
            alive = [x for x, flag in zip((1.0, 10.0, 100.0), mask) if flag]
            for how, expected in (("mean", np.mean), ("sum", np.sum), ("max", np.max)):
                y = self.variant(partial(join, how))(inputs, jnp.array(mask))
                np.testing.assert_allclose(y, np.full((2, 3), expected(alive)), rtol=1e-6)
            logits = jnp.log(jnp.array([1.0, 2.0, 3.0]))
            y = self.variant(partial(join, "convex"))(inputs, jnp.array(mask), logits)
            weights = [w for w, flag in zip((1.0, 2.0, 3.0), mask) if flag]
            np.testing.assert_allclose(y[0, 0], np.average(alive, weights=weights), rtol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_concat_keeps_the_place_of_the_dropped(self):
        inputs = [jnp.ones((2, 1)), jnp.full((2, 2), 2.0)]
        y = self.variant(partial(join, "concat"))(inputs, jnp.array([False, True]))
        np.testing.assert_array_equal(y, [[0, 2, 2]] * 2)
        np.testing.assert_array_equal(
            self.variant(partial(join, "concat"))(inputs), [[1, 2, 2]] * 2
        )

    @chex.variants(with_jit=True, without_jit=True)
    def test_nothing_leaks_from_a_dropped_input(self):
        alive = jnp.array([True, False, True])
        for poison in (jnp.nan, jnp.inf):
            inputs = [jnp.ones(4), jnp.full(4, poison), jnp.full(4, 3.0)]
            for how in ("mean", "sum", "concat", "max", "convex"):
                logits = jnp.zeros(3) if how == "convex" else None
                value = lambda inputs, how=how, logits=logits: (
                    join(how, inputs, alive, logits) ** 2
                ).sum()
                y, gradient = self.variant(jax.value_and_grad(value))(inputs)
                assert jnp.isfinite(y)
                np.testing.assert_array_equal(gradient[1], 0)
                assert jnp.all(gradient[2] != 0)
                assert jnp.all((gradient[0] != 0) == (how != "max"))


def test_all_alive_is_the_plain_join():
    inputs = list(jax.random.normal(jax.random.key(0), (3, 2, 5)))
    for how in ("mean", "sum", "concat", "max", "convex"):
        logits = jnp.array([0.0, 1.0, -1.0]) if how == "convex" else None
        everyone = join(how, inputs, jnp.ones(3, bool), logits)
        np.testing.assert_allclose(everyone, join(how, inputs, None, logits), rtol=1e-6)
    equal = join("convex", inputs, None, jnp.zeros(3))
    np.testing.assert_allclose(equal, join("mean", inputs), rtol=1e-6)
    np.testing.assert_allclose(join("mean", inputs), np.mean(inputs, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(join("mean", inputs[:1]), inputs[0])


def test_a_join_keeps_the_precision():
    inputs = [jnp.ones(2, jnp.bfloat16)] * 2
    assert join("mean", inputs).dtype == jnp.bfloat16
    assert join("mean", inputs, jnp.array([True, False])).dtype == jnp.bfloat16


# The block: linear units make its output a sum over paths


@pytest.mark.parametrize(
    "expr",
    [
        topology.fractal(3, how="sum"),
        topology.residual(3),
        topology.plain(4),
        Join((Unit("a"), Seq((Unit("b"), Unit("b"))), Unit("b")), "sum"),
    ],
    ids=["fractal", "residual", "plain", "tied"],
)
def test_sums_are_over_all_paths(expr):
    block, variables = linear_block(expr)
    names = set(block.init(jax.random.key(0), jnp.ones((1, 1)), train=False)["params"])
    assert names == set(topology.units(expr))
    weight = {name: leaf["w"] for name, leaf in variables["params"].items()}
    expected = sum(prod(weight[name] for name in path) for path in enumerate_paths(expr))
    assert run(block, variables) == expected


def test_fractal_means_are_flat():
    block, variables = linear_block(topology.fractal(3))
    w = {name: leaf["w"] for name, leaf in variables["params"].items()}

    def column(c, k):
        return w[f"column{c}_unit{k}"]

    middle = (column(2, 1) + column(3, 1) * column(3, 2)) / 2
    ends = [column(1, 1), middle * column(2, 2), middle * column(3, 3) * column(3, 4)]
    np.testing.assert_allclose(run(block, variables), sum(ends) / 3, rtol=1e-6)


@pytest.mark.parametrize("column", [1, 2, 3])
def test_a_column_shares_the_weights_of_the_block(column):
    block, variables = linear_block(topology.fractal(3))
    own = [
        leaf["w"]
        for name, leaf in variables["params"].items()
        if name.startswith(f"column{column}_")
    ]
    value, gradient = jax.value_and_grad(lambda v: run(block, v, column=column))(variables)
    assert value == prod(own)
    for name, leaf in gradient["params"].items():
        expected = value / variables["params"][name]["w"]
        assert leaf["w"] == (expected if name.startswith(f"column{column}_") else 0)


@pytest.mark.parametrize("how", ["mean", "sum", "max"])
def test_a_masked_block_is_the_restricted_block(how):
    expr = topology.fractal(3, how=how)
    block, variables = linear_block(expr)

    @jax.jit
    def masked(params, alive):
        masks = {f"join{j}": mask for j, mask in enumerate(alive, start=1)}
        value = lambda params: run(block, {"params": params, "drop_path": masks})
        return jax.value_and_grad(value)(params)

    for alive in product(*map(masks, topology.join_sizes(expr))):
        rest = topology.restrict(expr, alive=alive)
        used = {name: variables["params"][name] for name in topology.units(rest)}
        value, gradient = masked(variables["params"], tuple(map(jnp.array, alive)))
        np.testing.assert_allclose(value, run(Block(rest, 1, Times), {"params": used}), rtol=1e-6)
        # What is dropped has no gradient at all; what is left has some.
        for name, leaf in gradient.items():
            if how != "max":
                assert (leaf["w"] != 0) == (name in used), (name, alive)
            elif name not in used:
                assert leaf["w"] == 0


def test_every_mask_is_drawn_as_often_as_it_should_be(monkeypatch):
    rate, n = 0.4, 20_000
    expr = topology.fractal(3)
    block, variables = linear_block(expr)

    def probability(mask):
        dead = mask.count(False)
        revived = rate ** len(mask) / len(mask) if dead == len(mask) - 1 else 0
        return rate**dead * (1 - rate) ** (len(mask) - dead) + revived

    expected = Counter()
    for alive in product(*map(masks, topology.join_sizes(expr))):
        rest = topology.restrict(expr, alive=alive)
        factor = float(run(Block(rest, 1, Times), variables))
        expected[round(factor, 3)] += prod(map(probability, alive))

    keys = jax.random.split(jax.random.key(0), n)
    draw = lambda key: run(block, variables, drop_path=rate, rngs={"drop_path": key})
    drawn = Counter(round(float(y), 3) for y in jax.jit(jax.vmap(draw))(keys))
    assert set(drawn) == set(expected) and sum(expected.values()) == pytest.approx(1)
    for factor, p in expected.items():
        assert abs(drawn[factor] / n - p) < 4 * np.sqrt(p * (1 - p) / n)


def test_drop_path_needs_a_key_only_where_it_drops():
    block, variables = linear_block(topology.fractal(2))
    run(block, variables)
    run(block, variables, column=1, drop_path=0.5)  # a lone column has no joins
    with pytest.raises(Exception, match="drop_path"):
        run(block, variables, drop_path=0.5)


def test_units_are_told_how_they_run():
    told = []

    class Listening(nn.Module):
        features: int

        @nn.compact
        def __call__(self, x, *, train, alone):
            told.append((self.name, train, alone))
            return x

    block = Block(topology.fractal(2), 1, Listening)
    block.apply({}, jnp.ones((1, 1)), train=True)
    assert told == [(name, True, False) for name in topology.units(block.expr)]
    told.clear()
    block.apply({}, jnp.ones((1, 1)), train=False, column=2)
    assert told == [("column2_unit1", False, True), ("column2_unit2", False, True)]


def test_recomputed_units_change_nothing_and_keep_less():
    """The units of a chain keep their inputs only."""
    x = jax.random.normal(jax.random.key(1), (4, 6, 6, 8))
    unit = partial(ConvUnit, norm="layer")
    blocks = [Block(topology.plain(6), 8, unit, remat=remat) for remat in (False, True)]
    params = jax.jit(partial(blocks[0].init, train=True))(jax.random.key(0), x)

    def kept_and_gradient(block):
        loss = lambda params: (block.apply(params, x, train=True) ** 2).sum()
        _, pull_back = jax.vjp(loss, params)
        kept = sum(leaf.size for leaf in jax.tree.leaves(pull_back))
        return kept, jax.jit(jax.grad(loss))(params)

    (all_kept, gradient), (kept, again) = map(kept_and_gradient, blocks)
    assert kept < 0.6 * all_kept
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), gradient, again)


# Widths


def test_convex_joins_learn_their_weights():
    expr = topology.fractal(3, how="convex")
    block, variables = linear_block(expr)
    own = block.init(jax.random.key(0), jnp.ones((1, 1)), train=False)["params"]
    assert own["join1"].shape == (2,) and own["join2"].shape == (3,)
    logits = {"join1": jnp.array([0.3, -0.2]), "join2": jnp.array([0.5, 0.0, -1.0])}
    w = {name: leaf["w"] for name, leaf in variables["params"].items()}
    a, b = np.exp(logits["join1"]) / np.exp(logits["join1"]).sum()
    middle = a * w["column2_unit1"] + b * w["column3_unit1"] * w["column3_unit2"]
    deep = middle * w["column3_unit3"] * w["column3_unit4"]
    ends = np.array([w["column1_unit1"], middle * w["column2_unit2"], deep])
    p = np.exp(logits["join2"]) / np.exp(logits["join2"]).sum()
    params = {**variables["params"], **logits}
    np.testing.assert_allclose(run(block, {"params": params}), p @ ends, rtol=1e-5)
    # A lone column meets no weights.
    np.testing.assert_allclose(run(block, {"params": params}, column=1), w["column1_unit1"])


def test_projections_are_made_where_widths_demand_them():
    x = jnp.ones((2, 3))
    block = Block(topology.residual(1), 4, Matrix)
    params = block.init(jax.random.key(0), x, train=False)["params"]
    assert params["join1_project2"]["kernel"].shape == (3, 4)
    y = block.apply({"params": params}, x, train=False)
    chain = x @ params["block1_unit1"]["kernel"] @ params["block1_unit2"]["kernel"]
    np.testing.assert_allclose(y, chain + x @ params["join1_project2"]["kernel"], rtol=1e-5)


def test_a_tied_unit_meets_one_width():
    x = jnp.ones((2, 3))
    block = Block(topology.doubly_recursive(2, tied=True, how="concat"), 4, Matrix)
    params = block.init(jax.random.key(0), x, train=False)["params"]
    shapes = {name: leaf["kernel"].shape for name, leaf in params.items()}
    assert shapes == {"unitr": (3, 4), "unitl_project1": (3, 4), "unitl": (4, 4)}
    tied = params["unitl"]["kernel"]
    left = x @ params["unitl_project1"]["kernel"] @ tied @ tied
    y = block.apply({"params": params}, x, train=False)
    np.testing.assert_allclose(y[:, :4], x @ params["unitr"]["kernel"], rtol=1e-5)
    np.testing.assert_allclose(y[:, 4:], left, rtol=1e-5)


@pytest.mark.parametrize("name", ["b", "join1_project2"])
def test_a_name_is_one_layer(name):
    # The skip of three channels is projected, under a name that a unit may have taken.
    expr = Join((Seq((Unit(name), Unit("b", 2))), Identity()))
    with pytest.raises(InputError, match=r"units of equal name are one layer, but .* differ"):
        Block(expr, 4, Matrix).init(jax.random.key(0), jnp.ones((2, 3)), train=False)


def test_a_lone_column_of_a_concat_keeps_its_place():
    x = jnp.ones((2, 3))
    block = Block(topology.fractal(2, how="concat"), 4, Matrix)
    params = block.init(jax.random.key(0), x, train=False)["params"]
    whole = block.apply({"params": params}, x, train=False)
    for column, place in ((1, slice(0, 4)), (2, slice(4, 8))):
        y = block.apply({"params": params}, x, train=False, column=column)
        np.testing.assert_array_equal(y[:, place], whole[:, place])
        assert jnp.count_nonzero(y) == jnp.count_nonzero(whole[:, place])


class Matrix(nn.Module):
    """A linear unit of any width."""

    features: int

    @nn.compact
    def __call__(self, x, *, train, alone):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        return x @ kernel
