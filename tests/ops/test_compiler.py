import jax
import numpy as np
import pytest

from jfractal.ops import compiler
from jfractal.ops.processor import Processor


@pytest.fixture(autouse=True)
def forget():
    compiler.compiler_options.cache_clear()
    yield
    compiler.compiler_options.cache_clear()


def test_what_is_compiled_with_the_options_computes_the_same(getkey):
    x = jax.random.normal(getkey(), (4, 8, 8, 32))
    w = jax.random.normal(getkey(), (3, 3, 32, 32))

    def conv(x, w):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers)

    ours = jax.jit(conv, compiler_options=compiler.compiler_options())(x, w)
    np.testing.assert_allclose(ours, jax.jit(conv)(x, w), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("arithmetic", ["amx_bf16", "avx512_bf16", "avx2"])
def test_options_that_this_xla_knows_are_given_on_cpu(monkeypatch, arithmetic):
    monkeypatch.setattr(compiler, "processor", lambda: Processor("some processor", arithmetic))
    options = compiler.compiler_options()
    jax.jit(lambda x: x @ x, compiler_options=options)(np.ones((4, 4), np.float32))
    if jax.default_backend() == "cpu" and options is not None:
        assert ("DOT" in options[compiler.LIBRARY]) == (arithmetic != "avx2")


def test_options_that_this_xla_does_not_know_are_left_out(monkeypatch):
    monkeypatch.setattr(compiler, "LIBRARY", "xla_cpu_no_such_option")
    assert compiler.compiler_options() is None


def test_other_platforms_have_none(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert compiler.compiler_options() is None


TRANSFORMATIONS = {
    "none": lambda f: f,
    "jit": jax.jit,
    "grad": lambda f: jax.grad(lambda x: f(x).sum()),
    "vmap": jax.vmap,
    "jit of grad": lambda f: jax.jit(jax.grad(lambda x: f(x).sum())),
    "map": lambda f: lambda x: jax.lax.map(f, x),
    "itself": compiler.jit,
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_jit_works_within_any_transformation(name, getkey):
    transform = TRANSFORMATIONS[name]
    x = jax.random.normal(getkey(), (3, 4))
    ours = transform(compiler.jit(lambda x: x @ x.T if x.ndim == 2 else x * x))(x)
    expected = transform(lambda x: x @ x.T if x.ndim == 2 else x * x)(x)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_jit_compiles_once_and_takes_the_options_of_jax(getkey):
    traced = []

    def power(x, exponent):
        traced.append(exponent)
        return x**exponent

    ours = compiler.jit(power, static_argnums=1)
    x = jax.random.normal(getkey(), (3,))
    for exponent in (2, 2, 3):
        np.testing.assert_allclose(ours(x, exponent), x**exponent, rtol=1e-5)
    assert traced == [2, 3] and ours.__name__ == "power"


def test_options_go_to_an_outermost_program_and_to_no_other(monkeypatch, getkey):
    options = {"xla_cpu_enable_fast_math": False} if jax.default_backend() == "cpu" else {}
    asked, jit = [], jax.jit

    def spy(function, **kwargs):
        asked.append(kwargs.get("compiler_options"))
        return jit(function, **kwargs)

    monkeypatch.setattr(compiler, "compiler_options", lambda: options)
    monkeypatch.setattr(jax, "jit", spy)
    x = jax.random.normal(getkey(), (3,))
    ours = compiler.jit(lambda x: 2 * x)
    jit(ours)(x)
    assert options not in asked
    ours(x)
    assert asked.count(options) == 1
