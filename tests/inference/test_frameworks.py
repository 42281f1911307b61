"""Models of NNX and Equinox modules: what they compute is what the module computes."""

import builtins
from functools import partial

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jfractal as jf
from jfractal.identity import ByContent
from tests.inference.methods import LIKELIHOOD, PRIOR

KEY = jax.random.key(0)
X, Y = jax.random.normal(KEY, (6, 5, 5, 2)), jnp.arange(6) % 3
of_nnx = partial(jf.Model.from_nnx, prior=PRIOR, likelihood=LIKELIHOOD)
of_equinox = partial(jf.Model.from_equinox, prior=PRIOR, likelihood=LIKELIHOOD)


class Nnx(nnx.Module):
    """Batch norm, dropout, a list of layers, and weights that are tied."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.square = nnx.Linear(4, 4, rngs=rngs)
        self.layers = nnx.List([self.square, nnx.Linear(4, 3, rngs=rngs), self.square])

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv(x))).mean((1, 2))
        first, last, again = self.layers
        return last(self.drop(again(first(x))))


class Equinox(eqx.Module):
    """Batch norm, dropout, and one example at a time, channels first."""

    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    drop: eqx.nn.Dropout
    head: eqx.nn.MLP
    steps: jax.Array  # which is no weight

    def __init__(self, key):
        key_conv, key_head = jax.random.split(key)
        self.conv = eqx.nn.Conv2d(2, 4, 3, key=key_conv)
        self.norm = eqx.nn.BatchNorm(4, "images", mode="ema")
        self.drop = eqx.nn.Dropout(0.5)
        self.head = eqx.nn.MLP(4, 3, width_size=8, depth=1, key=key_head)
        self.steps = jnp.arange(2)

    def __call__(self, x, state, key=None):
        x, state = self.norm(self.conv(jnp.moveaxis(x, -1, 0)), state)
        return self.head(self.drop(jax.nn.relu(x).mean((1, 2)), key=key)), state


@pytest.fixture(scope="module")
def nnx_model():
    return of_nnx(Nnx(nnx.Rngs(0)))


@pytest.fixture(scope="module")
def equinox_model():
    return of_equinox(*eqx.nn.make_with_state(Equinox)(KEY), axis_name="images")


@pytest.fixture(params=["nnx", "equinox"])
def made(request):
    """A model and its variables, of either framework."""
    return request.getfixturevalue(f"{request.param}_model")


def test_nnx_variables_are_plain_dictionaries(nnx_model):
    _, variables = nnx_model
    shapes = jax.tree.map(jnp.shape, variables)
    norm = {"bias": (4,), "scale": (4,)}
    assert shapes == {
        "params": {
            "conv": {"bias": (4,), "kernel": (3, 3, 2, 4)},
            "layers": {
                "0": {"bias": (4,), "kernel": (4, 4)},
                "1": {"bias": (3,), "kernel": (4, 3)},
            },
            "norm": norm,
        },
        "batch_stats": {"norm": {"mean": (4,), "var": (4,)}},
    }


def test_equinox_variables_are_plain_dictionaries_in_the_order_of_flax(equinox_model):
    _, variables = equinox_model
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "conv": {"bias": (4,), "weight": (3, 3, 2, 4)},
        "head": {
            "layers": {
                "0": {"bias": (8,), "weight": (4, 8)},
                "1": {"bias": (3,), "weight": (8, 3)},
            }
        },
        "norm": {"bias": (4,), "weight": (4,)},
    }
    # Read in the order of Equinox, the fan-in of the first layer of the head would be 8.
    scale = jf.priors.FanIn().at("head/layers/0/weight", (4, 8)).scale
    np.testing.assert_allclose(scale, 4**-0.5)


def test_nnx_passes_are_those_of_the_module():
    module = Nnx(nnx.Rngs(0))
    module.drop.rate = 0.0
    model, variables = of_nnx(module)
    outputs, after = model.train(variables, X, KEY)
    # The module itself is as it was, until it runs.
    assert jnp.array_equal(module.norm.mean[...], variables["batch_stats"]["norm"]["mean"])
    module.train()
    np.testing.assert_allclose(outputs, module(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after["batch_stats"]["norm"]["var"], module.norm.var[...], rtol=1e-5)
    module.eval()
    np.testing.assert_allclose(model.apply(after, X), module(X), rtol=1e-5, atol=1e-6)


def test_equinox_passes_are_those_of_the_module():
    module, state = eqx.nn.make_with_state(Equinox)(KEY)
    module = eqx.tree_at(lambda m: m.drop, module, eqx.nn.Dropout(0.0))
    model, variables = of_equinox(module, state, axis_name="images")
    outputs, after = model.train(variables, X, KEY)
    run = partial(jax.vmap, in_axes=(0, None), out_axes=(0, None), axis_name="images")
    expected, state = run(lambda x, s: module(x, s, key=KEY))(X, state)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(jax.tree.leaves(after["state"]), jax.tree.leaves(state))
    expected, _ = run(eqx.nn.inference_mode(module))(X, state)
    np.testing.assert_allclose(model.apply(after, X), expected, rtol=1e-5, atol=1e-6)


def test_dropout_is_drawn_from_the_key_of_the_pass(made):
    model, variables = made
    keys = jax.random.split(KEY)
    one, other = (model.train(variables, X, key)[0] for key in keys)
    assert (one != other).any()
    np.testing.assert_array_equal(model.train(variables, X, keys[0])[0], one)
    np.testing.assert_array_equal(model.apply(variables, X), model.apply(variables, X))


def test_state_keeps_its_types_and_moves(made):
    model, variables = made
    _, after = jax.jit(model.train)(variables, X, KEY)
    assert jax.tree.map(jax.typeof, after) == jax.tree.map(jax.typeof, variables)
    chex.assert_trees_all_equal(after["params"], variables["params"])
    (name,) = set(variables) - {"params"}
    for before, now in zip(jax.tree.leaves(variables[name]), jax.tree.leaves(after[name])):
        assert (before != now).any()


def test_a_posterior_goes_through_a_file(made, tmp_path):
    model, variables = made
    method = jf.variational(model, optax.sgd(0.1))
    posterior = method.posterior(method.init(variables, KEY))
    posterior.save(tmp_path / "posterior.npz")
    chex.assert_trees_all_equal(jf.load(tmp_path / "posterior.npz"), posterior)


def test_models_that_were_made_alike_compile_once():
    module = Nnx(nnx.Rngs(0))
    assert ByContent(of_nnx(module)[0]) == ByContent(of_nnx(module)[0])
    assert ByContent(of_nnx(module)[0]) != ByContent(of_nnx(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))[0])
    made = eqx.nn.MLP(2, 3, 4, 1, key=KEY)
    assert ByContent(of_equinox(made)[0]) == ByContent(of_equinox(made)[0])
    other = eqx.nn.MLP(2, 3, 4, 1, activation=jnp.tanh, key=KEY)
    assert ByContent(of_equinox(made)[0]) != ByContent(of_equinox(other)[0])


@pytest.mark.parametrize("kind", ["nnx", "equinox"])
def test_members_of_an_ensemble_have_starts_of_their_own(kind):
    def make(key):
        if kind == "nnx":
            return of_nnx(nnx.Linear(2, 3, rngs=nnx.Rngs(key)))
        return of_equinox(eqx.nn.Linear(2, 3, key=key))

    model, _ = make(KEY)
    method = jf.ensemble(jf.maximum_a_posteriori(model, optax.sgd(0.1)), 2)
    state = method.init(lambda key: make(key)[1], KEY)
    first, second = jax.tree.map(list, [state.params["kernel" if kind == "nnx" else "weight"]])[0]
    assert (first != second).all()


def test_an_nnx_module_that_is_told_in_each_call():
    class Told(nnx.Module):
        def __init__(self, rngs):
            self.scale = nnx.Param(jnp.ones((1, 1)))

        def __call__(self, x, train):
            return self.scale[...] * float(train)

    model, variables = of_nnx(Told(nnx.Rngs(0)))
    assert float(model.apply(variables, X)[0, 0]) == 0.0
    assert float(model.train(variables, X, KEY)[0][0, 0]) == 1.0


def test_other_state_of_an_nnx_module_is_kept():
    class Counts(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(2, 3, rngs=rngs)
            self.calls = nnx.Variable(jnp.zeros((), jnp.int32))

        def __call__(self, x):
            self.calls[...] = self.calls[...] + 1
            return self.layer(x)

    model, variables = of_nnx(Counts(nnx.Rngs(0)))
    method = jf.sgld(model, learning_rate=0.1)
    state = method.init(variables, KEY)
    for _ in range(2):
        state, _ = jax.jit(method.update)(state, (X[:, 0, 0], Y), KEY)
    assert int(state.variables["state"]["calls"]) == 2


def test_equinox_weights_that_are_shared_are_one_leaf():
    class Tied(eqx.Module):
        shared: eqx.nn.Shared

        def __init__(self, key):
            key_embed, key_out = jax.random.split(key)
            pair = eqx.nn.Embedding(5, 4, key=key_embed), eqx.nn.Linear(4, 5, False, key=key_out)
            self.shared = eqx.nn.Shared(pair, lambda p: p[1].weight, lambda p: p[0].weight)

        def __call__(self, tokens):
            embed, out = self.shared()
            return out(jax.vmap(embed)(tokens).mean(0))

    net = Tied(KEY)
    model, variables = of_equinox(net)
    assert [leaf.shape for leaf in jax.tree.leaves(variables["params"])] == [(5, 4)]
    tokens = jnp.arange(6).reshape(2, 3) % 5
    np.testing.assert_allclose(model.apply(variables, tokens), jax.vmap(net)(tokens), rtol=1e-6)


def test_equinox_layers_with_kernels_of_their_own_order():
    """Recurrent cells and convolutions that go up: turned, and turned back."""
    cell, conv = eqx.nn.GRUCell(2, 3, key=KEY), eqx.nn.ConvTranspose1d(2, 3, 2, key=KEY)

    class Net(eqx.Module):
        cell: eqx.nn.GRUCell
        conv: eqx.nn.ConvTranspose1d

        def __call__(self, x):
            return self.cell(x, jnp.ones(3)), self.conv(x[:, None])

    model, variables = of_equinox(Net(cell, conv))
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "cell": {"bias": (9,), "bias_n": (3,), "weight_hh": (3, 9), "weight_ih": (2, 9)},
        "conv": {"bias": (3,), "weight": (2, 2, 3)},
    }
    x = X[:, 0, 0]
    expected = jax.vmap(Net(cell, conv))(x)
    chex.assert_trees_all_close(model.apply(variables, x), expected, rtol=1e-6)


def test_a_start_without_state_is_refused(made):
    model, variables = made
    method = jf.maximum_a_posteriori(model, optax.sgd(0.1))
    state = method.init({"params": variables["params"]}, KEY)
    with pytest.raises(
        jf.InputError, match=r"`params` lacks '.*': start from all of the variables"
    ):
        method.update(state, (X, Y), KEY)


def test_inputs_that_do_not_fit_are_refused(made):
    model, variables = made
    method = jf.maximum_a_posteriori(model, optax.sgd(0.1))
    with pytest.raises(jf.InputError, match=r"`x` of shape \(6, 5\) does not run through the net"):
        method.update(method.init(variables, KEY), (X[:, 0, :, 0], Y), KEY)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: of_nnx(nnx.Linear), "`module` must be a Flax NNX module, got a "),
        (lambda: of_nnx(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), training="train"), "keyword of Linear"),
        (lambda: of_equinox(jnp.tanh), "`module` must be an Equinox module"),
        (lambda: of_equinox(eqx.nn.make_with_state(Equinox)(KEY)[0]), "`state` must be given"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(jf.InputError, match=message):
        make()


def test_without_equinox_there_is_a_sentence(monkeypatch):
    real = builtins.__import__

    def no_equinox(name, *args, **kwargs):
        if name == "equinox":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_equinox)
    with pytest.raises(jf.InputError, match="Equinox, which is not installed: pip install equinox"):
        of_equinox(eqx.nn.Linear(2, 3, key=KEY))
