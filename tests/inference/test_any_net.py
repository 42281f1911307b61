"""Every method trains every net, and predicts; or says in a sentence why not."""

from functools import cache, partial

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jfractal as jf
from tests.inference.methods import LIKELIHOOD, METHODS, PRIOR

KEY = jax.random.key(0)
IMAGES, LABELS = jax.random.normal(KEY, (4, 4, 4, 1)), jnp.arange(4) % 3
TOKENS = jax.random.randint(KEY, (4, 5), 0, 7)


class Cnn(nn.Module):
    """Batch norm and dropout."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.Conv(2, (3, 3))(x))
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(nn.relu(x).mean((1, 2))))


class Transformer(nn.Module):
    """A language model in small: its embedding is its last layer, and predicts the next token."""

    @nn.compact
    def __call__(self, tokens, deterministic=True):
        embed = nn.Embed(7, 4)
        x = embed(tokens)
        attention = nn.MultiHeadDotProductAttention(2, dropout_rate=0.1)
        x = x + attention(nn.LayerNorm()(x), deterministic=deterministic)
        return embed.attend(x[:, -1])


class Lstm(nn.Module):
    """Reads tokens, and classifies the sequence."""

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(7, 3)(tokens)
        return nn.Dense(3)(nn.RNN(nn.OptimizedLSTMCell(2))(x)[:, -1])


class NnxCnn(nnx.Module):
    """The first of these, in NNX."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 2, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(2, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(2, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(self.drop(nnx.relu(self.norm(self.conv(x))).mean((1, 2))))


def fractal():
    net = jf.FractalNet(3, columns=2, widths=(2,))
    model = jf.fractal_model(net, prior=PRIOR, likelihood=LIKELIHOOD)
    return model, jax.jit(net.init)(KEY, IMAGES), IMAGES


def linen(net, x, **options):
    model = jf.Model.from_linen(net, prior=PRIOR, likelihood=LIKELIHOOD)
    return model, jax.jit(partial(net.init, **options))(KEY, x), x


def of_nnx():
    return *jf.Model.from_nnx(NnxCnn(nnx.Rngs(0)), prior=PRIOR, likelihood=LIKELIHOOD), IMAGES


def of_equinox():
    net = eqx.nn.MLP(4, 3, width_size=3, depth=1, key=KEY)
    made = jf.Model.from_equinox(net, prior=PRIOR, likelihood=LIKELIHOOD)
    return *made, IMAGES[:, :, 0, 0]


NETS = {
    "fractal": fractal,
    "linen_cnn": partial(linen, Cnn(), IMAGES, train=False),
    "linen_transformer": partial(linen, Transformer(), TOKENS),
    "linen_lstm": partial(linen, Lstm(), TOKENS),
    "nnx_cnn": of_nnx,
    "equinox_mlp": of_equinox,
}
made = cache(lambda name: NETS[name]())


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", METHODS)
def test_two_steps_and_a_prediction(name, net):
    model, variables, x = made(net)
    if name == "mc_drop_path" and net != "fractal":
        with pytest.raises(
            jf.InputError, match=r"must be that of a fractal net, `jf\.fractal_model\("
        ):
            METHODS[name](model)
        return
    method = METHODS[name](model)

    @jax.jit
    def trained(variables, key):
        key_init, key_steps = jax.random.split(key)
        step = lambda state, key: method.update(state, (x, LABELS), key, 100)
        start = method.init(variables, key_init)
        state, info = jax.lax.scan(step, start, jax.random.split(key_steps))
        return method.posterior(state), info

    posterior, info = trained(variables, jax.random.key(1))
    assert np.isfinite(jax.tree.leaves(info)).all()
    before, after = jax.tree.leaves(variables["params"]), jax.tree.leaves(posterior.mean())
    assert any((w != v).any() for w, v in zip(before, after, strict=True))
    options = {"num_samples": 2, "batch_size": 4, "samples_per_pass": 2}
    prediction = jf.predict(model, posterior, x, KEY, **options)
    np.testing.assert_allclose(prediction.probs.sum(-1), np.ones(4), rtol=1e-5)
