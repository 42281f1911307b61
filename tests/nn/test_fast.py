from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf

X = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)


class Plain(nn.Module):
    """What a user of Flax writes."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), strides=2, padding="CIRCULAR")(x))
        return nn.Dense(3)(nn.relu(nn.Conv(5, (3, 3), use_bias=False)(x)).mean((1, 2)))


class Owning(nn.Module):
    """Layers as attributes, one of them used twice."""

    layer: nn.Module

    def setup(self):
        self.second = nn.Conv(3, (3,))

    def __call__(self, x):
        x = x.mean(1)
        return self.second(self.layer(self.layer(x)))


NETS = {
    "compact": (Plain(), 2),
    "attributes": (Owning(nn.Conv(3, (3,))), 3),
    "sequence": (nn.Sequential([nn.Conv(4, (1, 1)), nn.relu, nn.Conv(2, (3, 3))]), 2),
    "one layer": (nn.Conv(4, (3, 3)), 1),
    "remat": (nn.remat(nn.Conv)(4, (3, 3)), 1),
}


@pytest.mark.parametrize("name", NETS)
def test_all_convolutions_are_ours_and_nothing_else_changes(name):
    net, num_convolutions = NETS[name]
    variables = jax.jit(net.init)(jax.random.key(0), X)
    before = str(jax.make_jaxpr(net.apply)(variables, X))
    fast = jf.nn.fast(net.apply)
    program = str(jax.make_jaxpr(fast)(variables, X))
    assert "conv_general_dilated" not in program
    assert program.count("jfractal_conv") == num_convolutions
    gradient = lambda apply: jax.jit(jax.grad(lambda v: (apply(v, X) ** 2).sum()))(variables)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4),
        gradient(fast),
        gradient(net.apply),
    )
    assert str(jax.make_jaxpr(net.apply)(variables, X)) == before  # the net stays as it was


def test_a_chosen_convolution_is_kept():
    net = nn.Conv(4, (3, 3), conv_general_dilated=jax.lax.conv_general_dilated)
    variables = net.init(jax.random.key(0), X)
    assert "jfractal_conv" not in str(jax.make_jaxpr(jf.nn.fast(net.apply))(variables, X))


def test_options_collections_and_streams_are_handed_on():
    net = jf.FractalNet(2, columns=2, widths=(4,), conv=nn.Conv, dropout=0.1)
    variables = jax.jit(net.init)(jax.random.key(0), X)
    y, changed = jf.nn.fast(net.apply)(
        variables, X, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)}
    )
    assert y.shape == (2, 2) and set(changed) == {"batch_stats"}


def test_no_module_of_flax_is_needed():
    assert jf.nn.fast(lambda w, x: w @ x)(jnp.ones((2, 3)), jnp.ones(3)).shape == (2,)


def test_equal_functions_are_equal_and_once_is_enough():
    net = Plain()
    once = jf.nn.fast(net.apply)
    assert once == jf.nn.fast(net.apply) and hash(once) == hash(jf.nn.fast(net.apply))
    assert jf.nn.fast(once) is once
