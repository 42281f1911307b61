"""Units that read one map run as one convolution, and nobody can tell."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal import topology
from jfractal.nn import units
from jfractal.nn.nets import block_net

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"unit": partial(units.ConvUnit, use_bias=True)},
        {"conv": nn.Conv},
        {"conv": partial(jf.BayesConv, kernel_dilation=2, padding="CIRCULAR")},
    ],
    ids=["default", "bias", "of Flax", "dilated"],
)
def test_equals_one_by_one(options, monkeypatch):
    net = block_net(topology.fractal(3), 3, widths=(4, 4), norm="layer", **options)
    variables = jax.jit(net.init)(KEY, X)
    params = jf.sample(variables["params"], KEY)

    def value_and_gradient():
        loss = lambda params, x: (net.apply({"params": params}, x) ** 2).sum()
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, X)

    parts = []
    merge = units.ConvUnit.merged
    spy = lambda self, params, x: parts.append(merge(self, params, x)) or parts[-1]
    monkeypatch.setattr(units.ConvUnit, "merged", spy)
    merged = value_and_gradient()
    assert [len(part) for part in parts] == [3, 2, 3, 2]
    monkeypatch.setattr(units, "NARROW", 0)
    simple = value_and_gradient()
    assert set(parts[4:]) == {None}
    for a, b in zip(jax.tree.leaves(merged), jax.tree.leaves(simple), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(1, abs(np.asarray(b)).max()))


def test_who_reads_what():
    groups = topology.siblings(topology.fractal(3))
    assert groups["column1_unit1"] == ("column1_unit1", "column2_unit1", "column3_unit1")
    assert groups["column2_unit2"] == ("column2_unit2", "column3_unit3")
    assert groups["column3_unit2"] == ("column3_unit2",)
    tied = topology.doubly_recursive(2, tied=True)
    assert topology.siblings(tied) == {"unitr": ("unitr",)}
    projected = topology.siblings(topology.project(topology.residual(1), 3, 4))
    assert projected == {name: (name,) for name in ("block1_unit1", "block1_unit2")}


def test_what_is_not_merged():
    gaussian = jf.FractalNet(3, columns=2, widths=(4,), conv=jf.BayesConv, norm="none")
    params = jax.jit(gaussian.init)(KEY, X)["params"]["block1"]
    unit = units.ConvUnit(4, parent=None)
    both = [params["column1_unit1"], params["column2_unit1"]]
    assert unit.merged(both, X) is None  # each layer draws for itself
    arrays = jf.mean(both)
    assert len(unit.merged(arrays, X)) == 2
    assert units.ConvUnit(4, order="pre", parent=None).merged(arrays, X) is None
    assert units.DenseUnit(4, parent=None).merged(arrays, X) is None

    class Twice(units.ConvUnit):
        def linear(self, x):
            return 2 * super().linear(x)

    assert Twice(4, parent=None).merged(arrays, X) is None


@pytest.mark.parametrize("train", [False, True])
def test_statistics_are_those_of_each_unit(train, monkeypatch):
    net = jf.FractalNet(3, columns=2, widths=(4,))
    variables = jax.jit(net.init)(KEY, X)
    run = lambda: net.apply(variables, X, train=train, mutable=["batch_stats"])
    merged = run()
    monkeypatch.setattr(units, "NARROW", 0)
    for a, b in zip(jax.tree.leaves(merged), jax.tree.leaves(run()), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert jnp.isfinite(merged[0]).all()
