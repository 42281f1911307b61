"""What was made alike is equal, and compiles once; what computes something else is not."""

import importlib.util
import pickle
from dataclasses import dataclass, replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from jfractal.identity import ByContent, key_of

SHIFT = 1.0


@dataclass
class Scale:
    """Not hashable by itself."""

    factor: float

    def __call__(self, x):
        return self.factor * x


class Net(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width)(x)


def closure(value):
    return lambda x: x + value


def shifted(x):
    return x + SHIFT


def recursive(depth):
    def down(x, depth):
        return x if depth == 0 else down(x, depth - 1)

    return partial(down, depth=depth)


def model(**options):
    return jf.Model(
        Net(3).apply, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical()
    )


EQUAL = {
    "an optimizer": lambda: optax.chain(optax.clip(1.0), optax.adam(1e-3)),
    "a schedule": lambda: optax.sgd(optax.cosine_decay_schedule(0.1, 10)),
    "a closure": lambda: closure(2.0),
    "a closure over an array": lambda: closure(np.arange(3)),
    "a closure over a JAX array": lambda: closure(jnp.arange(3)),
    "a bound method": lambda: Net(3).apply,
    "a dataclass": lambda: Scale(2.0),
    "a partial": lambda: partial(closure, value=[1, {"a": 2}]),
    "a recursion": lambda: recursive(3),
    "a method": lambda: jf.variational(model(), optax.adam(1e-3)),
    "an ensemble": lambda: jf.ensemble(jf.ivon(model(), learning_rate=0.1), 3),
    "a fractal net": lambda: jf.FractalNet(10, columns=2, widths=(4,)).apply,
}


@pytest.mark.parametrize("name", EQUAL)
def test_equal(name):
    make = EQUAL[name]
    assert ByContent(make()) == ByContent(make())
    assert hash(ByContent(make())) == hash(ByContent(make()))


DIFFERENT = {
    "numbers": (1, 2),
    "kinds of number": (1, 1.0),
    "truth values": (1, True),
    "rates": (optax.adam(1e-3), optax.adam(1e-2)),
    "closures": (closure(2.0), closure(3.0)),
    "functions": (lambda x: x + 1, lambda x: x + 2),
    "arrays": (closure(np.arange(3)), closure(np.arange(3) + 1)),
    "shapes": (closure(np.zeros(4)), closure(np.zeros((2, 2)))),
    "dtypes": (closure(np.zeros(2)), closure(np.zeros(2, np.int64))),
    "widths": (Net(3).apply, Net(4).apply),
    "fields": (Scale(2.0), Scale(3.0)),
    "depths": (recursive(3), recursive(4)),
    "methods": (
        jf.sgld(model(), learning_rate=0.1),
        jf.sgld(model(), learning_rate=0.1, temperature=0.5),
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_different(name):
    one, other = DIFFERENT[name]
    assert ByContent(one) != ByContent(other)


def test_a_global_that_a_function_reads(monkeypatch):
    before = ByContent(shifted)
    assert before == ByContent(shifted)
    monkeypatch.setitem(globals(), "SHIFT", 2.0)
    assert before != ByContent(shifted)


def test_an_array_that_is_changed_in_place():
    values = np.zeros(3)
    function = closure(values)
    before = ByContent(function)
    values[0] = 1
    assert before != ByContent(function)


def test_a_lambda_of_another_file_is_another(tmp_path):
    def load(name, text):
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.f

    text = "CONSTANT = {}\ndef f(x):\n    return x + CONSTANT\n"
    assert ByContent(load("one", text.format(1))) != ByContent(load("two", text.format(2)))


def test_shared_parts_are_looked_at_once():
    """A tower of functions, each of which holds the one below twice: 2^60 paths."""

    def tower():
        top = closure(1.0)
        for _ in range(60):
            top = partial(lambda f, g, x: f(g(x)), top, top)
        return top

    assert key_of(tower()) == key_of(tower())


def test_traced_values_and_keys_are_themselves():
    key = jax.random.key(0)
    assert ByContent(key) == ByContent(key) != ByContent(jax.random.key(0))
    jax.jit(lambda x: hash(ByContent(closure(x))) and x)(1.0)


def test_a_program_is_compiled_once():
    traces = []

    @partial(jax.jit, static_argnums=0)
    def run(method, x):
        traces.append(1)
        return method.value.init({"w": x}, jax.random.key(0)).params

    for _ in range(3):
        run(ByContent(jf.maximum_a_posteriori(model(), optax.adam(1e-3))), jnp.zeros(3))
    assert len(traces) == 1


NETS = {
    "fractal": lambda: jf.FractalNet(10, columns=2, widths=(4,)),
    "of types": lambda: jf.FractalNet(10, widths=[4], dtype="bfloat16", param_dtype=jnp.float32),
    "Bayesian": lambda: jf.FractalNet(
        10, widths=(4,), conv=partial(jf.nn.BayesConv, estimator="flipout")
    ),
    "separable": lambda: jf.FractalNet(10, unit=jf.nn.SeparableUnit, norm="frn"),
    "plain": lambda: jf.nn.PlainNet(10, depth=3),
    "residual": lambda: jf.nn.ResNet(10, dropout=[0.0, 0.1, 0.2, 0.3, 0.4]),
    "dense": lambda: jf.nn.DenseNet(10, widths=(4, 8)),
    "text": lambda: jf.nn.TextNet(
        jf.FractalNet(2, unit=jf.nn.DenseUnit), 30, embed=partial(jf.BayesEmbed)
    ),
    "noisy": lambda: jf.nn.LearnedNoise(jf.FractalNet(1)),
    "block": lambda: jf.nn.Block(
        jf.topology.fractal(2), 4, unit=partial(jf.nn.ConvUnit, conv=partial(jf.nn.Conv))
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_equal_nets_are_equal_also_after_pickling(name):
    make = NETS[name]
    net, again = make(), pickle.loads(pickle.dumps(make()))
    assert net == make() == again and hash(net) == hash(make()) == hash(again)
    assert ByContent(again.apply) == ByContent(net.apply)


MODELS = {
    "a net": model,
    "a fractal net": lambda: jf.fractal_model(
        NETS["fractal"](), prior=jf.priors.FanIn(), likelihood=jf.likelihoods.Categorical()
    ),
    "a module": lambda: jf.Model.from_linen(
        Net(3), prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Gaussian(0.1)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_equal_models_are_equal(name):
    make = MODELS[name]
    assert make() == make() and hash(make()) == hash(make())
    assert make() != replace(make(), prior=jf.priors.Gaussian(2.0)) and make() != NETS["plain"]()
    if name != "a module":  # whose passes are functions within functions
        assert pickle.loads(pickle.dumps(make())) == make()
