import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal import topology
from jfractal.nn.loops import places, stack, unstack
from jfractal.nn.nets import block_net

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
RULES = {
    "fractal": topology.fractal(4),
    "nested": topology.fractal(3, nested=True),
    "max": topology.fractal(3, how="max"),
    "plain": topology.plain(5),
    "residual": topology.residual(3),
    "untied": topology.doubly_recursive(3),
    "tied": topology.doubly_recursive(3, tied=True),
    "tutorial": topology.doubly_recursive(2, how="concat"),
    "convex": topology.fractal(3, how="convex"),
}


def train(net, variables, **options):
    """Value, outputs, batch statistics and gradients of a training pass."""

    def loss(params):
        y, changed = net.apply(
            {**variables, "params": params},
            X,
            train=True,
            mutable=["batch_stats"],
            rngs={"drop_path": jax.random.key(3)},
            **options,
        )
        return (y**2).sum(), (y, changed)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])


def assert_alike(ours, simple, tolerance=1e-4):
    assert jax.tree.structure(ours) == jax.tree.structure(simple)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(simple)):
        np.testing.assert_allclose(a, b, atol=tolerance * max(1, abs(np.asarray(b)).max()))


@pytest.mark.slow
@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("rule", ["fractal", "nested", "max", "residual", "untied", "convex"])
def test_loops_and_rematerialisation_change_nothing(rule, remat):
    simple = block_net(RULES[rule], 3, widths=(4,) if remat else (4, 4))
    variables = jax.jit(simple.init)(KEY, X)
    fast = simple.clone(loops=not remat or rule == "fractal", remat=remat)
    ours = train(fast, variables, drop_path=0.4)
    assert_alike(ours, train(simple, variables, drop_path=0.4))


@pytest.mark.slow
@pytest.mark.parametrize("column", [4, (None, 3)])
def test_columns_alone_as_loops(column):
    simple = jf.FractalNet(3, columns=4, widths=(4, 4), loops=False)
    loops = simple.clone(loops=True)
    variables = jax.jit(simple.init)(KEY, X)
    assert_alike(train(loops, variables, column=column), train(simple, variables, column=column))
    apply = lambda net: jax.jit(lambda v: net.apply(v, X, column=column))(variables)
    assert_alike(apply(loops), apply(simple))


@pytest.mark.slow
def test_local_drop_path_for_each_example():
    simple = jf.FractalNet(3, columns=3, widths=(4,), norm="layer", drop_path_per="example")
    variables = jax.jit(simple.init)(KEY, X)
    ours = train(simple.clone(loops=True), variables, drop_path=0.4)
    assert_alike(ours, train(simple, variables, drop_path=0.4))


@pytest.mark.slow
def test_draws_over_weights_as_loops():
    simple = jf.FractalNet(3, columns=4, widths=(4,), conv=jf.BayesConv, norm="group")
    posterior = jf.MeanField(jax.jit(simple.init)(KEY, X)["params"])
    logits = [
        jf.predict(net.apply, posterior, X, KEY, num_samples=3).samples
        for net in (simple, simple.clone(loops=True))
    ]
    assert_alike(*logits)


@pytest.mark.slow
def test_layers_in_loops_draw_each_for_itself():
    """One kernel for all units, of wide posteriors: the mean of many draws is that of no loop."""
    units = {"conv": jf.BayesConv, "norm": "none"}
    nets = [jf.FractalNet(1, columns=3, widths=(2,), loops=l, **units) for l in (False, True)]
    variables = jax.jit(nets[0].init)(KEY, X)
    wide = jf.mean_field(jf.mean(variables["params"]), scale=0.3)
    keys = jax.random.split(KEY, 2000)

    def outputs(net):
        draw = lambda key: net.apply({"params": wide}, X[:1], rngs={"posterior": key})[0, 0]
        return np.asarray(jax.jit(jax.vmap(draw))(keys))

    simple, loops = map(outputs, nets)
    assert not np.allclose(simple, loops)
    for moment in (lambda y: y, lambda y: (y - simple.mean()) ** 2):
        a, b = moment(simple), moment(loops)
        assert abs(a.mean() - b.mean()) < 4 * np.sqrt((a.var() + b.var()) / len(keys))


@pytest.mark.parametrize(
    ("columns", "keeps", "size"), [(4, True, 4), (4, False, 10), (7, False, 28)]
)
def test_units_left_to_write_down(columns, keeps, size):
    expr = topology.fractal(columns)
    rolled = topology.roll(expr, 8 if keeps else 3, 8)
    written = places(rolled)
    assert len(written) == size
    assert sorted(np.concatenate([n.ravel() for n in written.values()])) == sorted(
        topology.units(expr)
    )


@pytest.mark.parametrize("rule", RULES)
def test_folds_see_the_chain_that_a_loop_is(rule):
    expr, rolled = RULES[rule], topology.roll(RULES[rule], 4, 4)
    for fold in (
        topology.path_lengths,
        topology.units,
        topology.join_sizes,
        topology.unit_depths,
        topology.columns,
    ):
        assert fold(rolled) == fold(expr)


def test_what_is_tied_is_no_loop():
    tied = topology.Seq((topology.Unit("a"), topology.Unit("a"), topology.Unit("b")))
    assert topology.roll(tied, 4, 4) == tied


def test_units_that_differ_run_one_by_one():
    """As after pruning, or where one column alone is Bayesian."""
    net = jf.FractalNet(3, columns=3, widths=(4,), conv=jf.BayesConv, norm="none")
    params = jax.jit(net.init)(KEY, X)["params"]
    means = jf.mean(params)
    where = lambda path, leaf: path.endswith("column3_unit2/conv/kernel")
    params = jf.mean_field(means, where=where, scale=1e-6)
    y = net.clone(loops=True).apply({"params": params}, X, rngs={"posterior": KEY})
    np.testing.assert_allclose(y, net.apply({"params": means}, X), atol=1e-3)


def test_stacked_variables():
    names = np.array([["a", "b"], ["c", "d"], ["e", "f"]])
    trees = {name: {"w": jnp.full(3, i), "n": jnp.array(i)} for i, name in enumerate("abcdef")}
    stacked = stack(trees.__getitem__, names)
    assert stacked["w"].shape == (3, 2, 3) and stacked["n"].tolist() == [[0, 1], [2, 3], [4, 5]]
    back = unstack(stacked, names)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, back, trees))
    assert stack({**trees, "f": {"w": jnp.zeros(4), "n": 5}}.__getitem__, names) is None


def test_rematerialisation_keeps_less():
    """The units of a chain keep their inputs only."""
    net = lambda remat: block_net(topology.plain(8), 3, widths=(8,), remat=remat)

    def kept(net):
        variables = net.init(KEY, X)
        loss = lambda params: net.apply(
            {**variables, "params": params}, X, train=True, mutable=["batch_stats"]
        )[0].sum()
        _, pullback = jax.vjp(loss, variables["params"])
        return sum(leaf.size for leaf in jax.tree.leaves(pullback))

    assert kept(net(True)) < 0.6 * kept(net(False))
