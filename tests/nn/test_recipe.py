import pickle
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import jfractal as jf
from jfractal.nn.recipe import recipe


def fractal(**options):
    return jf.FractalNet(3, columns=2, widths=(4, 4), **options)


MAKERS = {
    "default": fractal,
    "plain": partial(jf.PlainNet, 3),
    "residual": partial(jf.ResNet, 3),
    "dense": partial(jf.DenseNet, 3),
    "a layer": lambda: fractal(conv=jf.BayesConv),
    "a partial": lambda: fractal(conv=partial(jf.BayesConv, scale=0.02, estimator="flipout")),
    "partial units": lambda: fractal(
        unit=partial(jf.nn.ConvUnit, conv=partial(nn.Conv, use_bias=False))
    ),
    "flat": lambda: fractal(unit=partial(jf.nn.DenseUnit, dense=jf.BayesDense)),
    "column": lambda: fractal().column((1, None)),
    "text": lambda: jf.TextNet(fractal(), 50, embed=partial(jf.BayesEmbed, scale=0.1)),
    "noise": lambda: jf.nn.LearnedNoise(fractal()),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_equal_nets_are_equal(make):
    net = make()
    for other in (make(), pickle.loads(pickle.dumps(net)), net.clone()):
        assert net == other and hash(net) == hash(other)


def test_different_nets_differ():
    nets = [
        fractal(),
        fractal(norm="layer"),
        fractal(conv=jf.BayesConv),
        fractal(conv=partial(jf.BayesConv, scale=0.02)),
        fractal(conv=partial(jf.BayesConv, scale=0.03)),
        fractal().column(1),
    ]
    assert len(set(nets)) == len(nets)


def test_equal_nets_compile_once():
    num_traces = 0

    @partial(jax.jit, static_argnums=0)
    def run(net, variables, x):
        nonlocal num_traces
        num_traces += 1
        return net.apply(variables, x)

    x = jnp.ones((2, 4, 4, 1))
    make = lambda: fractal(conv=partial(jf.nn.Conv, use_bias=False), norm="layer")
    variables = jax.jit(make().init)(jax.random.key(0), x)
    for net in (make(), make()):
        run(net, variables, x)
    assert num_traces == 1


def test_recipes_are_partials():
    made = recipe(partial(partial(dict, a=1), b=partial(int, "7")))
    assert made == recipe(partial(partial(dict, a=1), b=partial(int, "7")))
    assert made()["a"] == 1 and made()["b"]() == 7
    assert recipe(nn.Dense) is nn.Dense
    assert {made: 1}[pickle.loads(pickle.dumps(made))] == 1
