"""bfloat16 on every processor, whichever this one is, against float32 of `lax`."""

import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import jfractal as jf
from jfractal import ops
from jfractal.errors import InputError
from jfractal.ops import half, precision
from jfractal.ops.processor import Processor, processor

NHWC = ("NHWC", "HWIO", "NHWC")
DENSE = (((1,), (0,)), ((), ()))
MATRIX, PAIRS, NONE = "amx_bf16", "avx512_bf16", "avx2"


@pytest.fixture(autouse=True)
def arithmetic(monkeypatch):
    """Says what this processor can do, on whichever the test runs."""

    def become(name):
        here = lambda: Processor("some processor", name)
        monkeypatch.setattr(half, "processor", here)
        monkeypatch.setattr(precision, "processor", here)
        jax.clear_caches()

    yield become
    monkeypatch.undo()
    jax.clear_caches()


def normal(*shapes, dtype=jnp.bfloat16):
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [jax.random.normal(key, shape, dtype) for key, shape in zip(keys, shapes)]


def conv(operation, strides=(1, 1), padding="SAME", **options):
    return lambda x, w: operation(x, w, strides, padding, dimension_numbers=NHWC, **options)


def assert_close(ours, theirs):
    """Equal to within two roundings to bfloat16: one of the cotangent, one of the result."""
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == jnp.bfloat16 and a.shape == b.shape
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        np.testing.assert_allclose(a, b, rtol=0, atol=0.012 * np.abs(b).max(initial=1e-3))


def with_gradients(f):
    """The value, and the gradients of one projection of it."""

    def program(x, w):
        y, pull_back = jax.vjp(f, x, w)
        return y, *pull_back(jnp.cos(jnp.arange(y.size)).reshape(y.shape).astype(y.dtype))

    return program


# Many images of odd sizes on a large map, so that the last part of the images is not full; and odd
# features, on either side of what fills units.
WINDOWS = {
    "large map": ((23, 9, 7, 65), (3, 3, 65, 67), {}),
    "wide": ((6, 7, 7, 256), (3, 3, 256, 256), {}),
    "one image": ((1, 5, 5, 64), (3, 3, 64, 64), {}),
    "valid, dilated": (
        (3, 9, 8, 64),
        (2, 3, 64, 65),
        {"padding": "VALID", "rhs_dilation": (2, 1)},
    ),
    "cropped": ((2, 9, 9, 64), (3, 3, 64, 64), {"padding": ((-1, 2), (0, -1))}),
    "strides": ((3, 9, 8, 64), (3, 3, 64, 65), {"strides": (2, 1)}),
    "narrow": ((3, 6, 7, 5), (3, 3, 5, 7), {}),
    "small map": ((3, 3, 3, 5), (3, 3, 5, 7), {}),
    "small map, strides": ((3, 5, 5, 5), (3, 3, 5, 7), {"strides": (2, 2)}),
    "few features": ((3, 9, 9, 3), (3, 3, 3, 5), {}),
    "1x1": ((3, 6, 5, 7), (1, 1, 7, 3), {}),
    "1x1, strides": ((3, 6, 5, 7), (1, 1, 7, 3), {"strides": (2, 2)}),
    "groups": ((2, 6, 5, 6), (3, 3, 3, 4), {"feature_group_count": 2}),
}


@pytest.mark.parametrize("name", [MATRIX, NONE])
@pytest.mark.parametrize("case", WINDOWS)
def test_value_and_gradients_are_those_of_float32(arithmetic, case, name):
    arithmetic(name)
    *shapes, options = WINDOWS[case]
    x, w = normal(*shapes)
    ours = jax.jit(with_gradients(conv(ops.conv_general_dilated, **options)))(x, w)
    wide = (a.astype(jnp.float32) for a in (x, w))
    assert_close(ours, jax.jit(with_gradients(conv(lax.conv_general_dilated, **options)))(*wide))


def many(a):
    return jnp.stack([a, -a, a[::-1]])


def curvature(f):
    """A Hessian-vector product."""
    loss = lambda x, w: (f(x, w).astype(jnp.float32) ** 2).sum()
    return lambda x, w: jax.jvp(
        jax.grad(loss, (0, 1)), (x, w), (w.sum() * x / 64, x.sum() * w / 64)
    )[1]


TRANSFORMATIONS = {
    "without jit": lambda f, x, w: f(x, w),
    "jvp": lambda f, x, w: jax.jvp(f, (x, w), (x[::-1], w[::-1]))[1],
    "forward over reverse": lambda f, x, w: curvature(f)(x, w),
    "vmap of both": lambda f, x, w: jax.vmap(with_gradients(f))(many(x), many(w)),
    "vmap of kernels": lambda f, x, w: with_gradients(jax.vmap(f, (None, 0)))(x, many(w)),
    "vmap of inputs": lambda f, x, w: with_gradients(jax.vmap(f, (0, None)))(many(x), w),
    "in a loop": lambda f, x, w: lax.map(lambda x: with_gradients(f)(x, w), many(x)),
}
FUNCTIONS = {
    "large map": (conv, "conv_general_dilated", (5, 5, 5, 64), (3, 3, 64, 65)),
    "small map": (conv, "conv_general_dilated", (5, 3, 3, 5), (3, 3, 5, 7)),
    "dense": (
        lambda operation: lambda x, w: operation(x, w, DENSE),
        "dot_general",
        (5, 7),
        (7, 3),
    ),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
def test_transformations_are_those_of_float32(arithmetic, transformation, function):
    arithmetic(MATRIX)
    make, operation, *shapes = FUNCTIONS[function]
    transform, (x, w) = TRANSFORMATIONS[transformation], normal(*shapes)
    run = (lambda f: f) if transformation == "without jit" else jax.jit
    ours = run(partial(transform, make(getattr(ops, operation))))(x, w)
    wide = (a.astype(jnp.float32) for a in (x, w))
    assert_close(ours, jax.jit(partial(transform, make(getattr(lax, operation))))(*wide))


@pytest.mark.parametrize("sharded", [P(), P("data")], ids=["shared", "sharded"])
def test_on_a_mesh_of_manual_axes(arithmetic, sharded):
    """Parts of a batch are summed in a loop, whose total differs between devices."""
    arithmetic(MATRIX)
    x, w = normal((46, 5, 5, 64), (2, 3, 3, 64, 64))
    mesh = Mesh(jax.devices()[:2], "data")

    def gradient(operation, x, w):
        f = conv(operation)

        def total(x, w):
            own = f(x, w[0]).astype(jnp.float32)
            return lax.psum((own**2).sum(), "data")

        over = jax.shard_map(total, mesh=mesh, in_specs=(P("data"), sharded), out_specs=P())
        return jax.jit(jax.grad(over, 1))(x, w)

    ours = gradient(ops.conv_general_dilated, x, w)
    theirs = gradient(lax.conv_general_dilated, *(a.astype(jnp.float32) for a in (x, w)))
    assert_close(ours, theirs)


# What is compiled

PRODUCT = re.compile(
    r"stablehlo\.dot_general.*contracting_dims = \[(\d)\] x \[(\d)\].*"
    r": \(tensor<(\S+)>, tensor<(\S+)>\) -> tensor<(\S+)>"
)


def compiled_to(program, *args):
    """The number of convolutions, and of products of each type, in the program for a CPU."""
    text = jax.jit(program).trace(*args).lower(lowering_platforms=("cpu",)).as_text()
    products = PRODUCT.findall(text)
    assert len(products) == text.count("stablehlo.dot_general")
    for left, right, a, b, out in products:
        if "bf16" in a + b:  # any other layout XLA computes as float32, or refuses when it runs
            assert (left, right) == ("1", "0")
            assert (a[-4:], b[-4:], out[-3:]) == ("bf16", "bf16", "f32")
    half_products = sum("bf16" in a for _, _, a, _, _ in products)
    return text.count("stablehlo.convolution"), half_products, len(products) - half_products


@pytest.mark.parametrize(
    ("name", "case", "expected"),
    [
        # A product for each row of the window in the output and in the gradient by the input, for
        # each entry in that by the kernel; a large map has the first part of a sum, and a loop.
        (MATRIX, "large map", (0, 3 + 3 + 2 * 9, 0)),
        (MATRIX, "strides", (3, 0, 0)),
        (MATRIX, "narrow", (3, 0, 0)),
        (MATRIX, "small map", (0, 3 + 3 + 9, 0)),
        (MATRIX, "1x1", (0, 3, 0)),
        (MATRIX, "groups", (3, 0, 0)),
        (PAIRS, "large map", (3, 0, 0)),
        (PAIRS, "wide", (0, 3 + 3 + 9, 0)),
        (PAIRS, "small map", (0, 3 + 3 + 9, 0)),
        (PAIRS, "small map, strides", (0, 3 + 9, 1)),
        (PAIRS, "1x1", (0, 3, 0)),
        (NONE, "large map", (3, 0, 0)),
        (NONE, "small map", (0, 0, 3)),
        (NONE, "1x1", (3, 0, 0)),
    ],
)
def test_what_is_compiled_for_a_processor(arithmetic, name, case, expected):
    arithmetic(name)
    *shapes, options = WINDOWS[case]
    args = [jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in shapes]
    program = with_gradients(conv(ops.conv_general_dilated, **options))
    assert compiled_to(program, *args) == expected


@pytest.mark.parametrize("case", WINDOWS)
def test_in_float32_the_processor_changes_nothing(arithmetic, case):
    *shapes, options = WINDOWS[case]
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    texts = set()
    for name in (MATRIX, PAIRS, NONE):
        arithmetic(name)
        program = jax.jit(with_gradients(conv(ops.conv_general_dilated, **options)))
        texts.add(program.lower(*args).as_text())
    assert len(texts) == 1 and "bf16" not in texts.pop()


@pytest.mark.parametrize("name", [MATRIX, NONE])
@pytest.mark.parametrize(
    ("examples", "inputs", "outputs"), [(1, 1, 1), (5, 1, 3), (1, 7, 1), (7, 1, 1), (33, 17, 65)]
)
def test_dense_products_run_in_any_size(arithmetic, examples, inputs, outputs, name):
    arithmetic(name)
    x, w = normal((examples, inputs), (inputs, outputs))
    dense = lambda operation: lambda x, w: operation(x, w, DENSE)
    ours = jax.jit(with_gradients(dense(ops.dot_general)))(x, w)
    wide = (a.astype(jnp.float32) for a in (x, w))
    assert_close(ours, jax.jit(with_gradients(dense(lax.dot_general)))(*wide))
    in_half = 3 * (name != NONE)
    assert compiled_to(with_gradients(dense(ops.dot_general)), x, w) == (0, in_half, 3 - in_half)


@pytest.mark.parametrize(
    ("lhs", "rhs", "numbers"),
    [
        ((4, 2), (3, 4), (((0,), (1,)), ((), ()))),
        ((5, 2, 3), (5, 3, 4), (((2,), (1,)), ((0,), (0,)))),
        ((0, 3), (3, 4), DENSE),
        ((3,), (3, 4), (((0,), (0,)), ((), ()))),
        ((2, 5, 3), (3, 4), (((2,), (0,)), ((), ()))),
    ],
    ids=["transposed", "batched", "empty", "vector", "three axes"],
)
def test_products_of_all_kinds(lhs, rhs, numbers):
    x, w = normal(lhs, rhs)
    assert_close(ops.dot_general(x, w, numbers), lax.dot_general(x, w, numbers))


@pytest.mark.parametrize("estimator", jf.posterior.gaussian.Estimator.__args__)
@pytest.mark.parametrize("layer", ["conv", "dense"])
def test_estimators_reach_matrix_units(arithmetic, layer, estimator):
    """Behind one layer there are as many products, whichever way its weights are drawn."""
    arithmetic(MATRIX)
    options = {"estimator": estimator, "dtype": jnp.bfloat16, "use_bias": False}
    if layer == "dense":
        net, x = jf.BayesDense(6, **options), jnp.ones((4, 5))
    else:
        net, x = jf.BayesConv(64, (3, 3), **options), jnp.ones((4, 9, 9, 64))
    variables = jax.eval_shape(net.init, jax.random.key(0), x)
    run = lambda variables, x: net.apply(variables, x, rngs={"posterior": jax.random.key(1)})
    loss = lambda variables, x: run(variables, x).astype(jnp.float32).sum()
    convolutions, in_half, wide = compiled_to(jax.grad(loss, (0, 1)), variables, x)
    assert convolutions == 0
    if (estimator, layer) == ("per_example", "dense"):
        assert wide and not in_half  # a batched product
    else:
        assert in_half and not wide


def test_plain_layers_of_flax_run_on_it(arithmetic):
    arithmetic(MATRIX)
    net, x = nn.Dense(6, dtype=jnp.bfloat16), jnp.ones((4, 5))
    variables = jax.eval_shape(net.init, jax.random.key(0), x)
    assert compiled_to(jf.nn.fast(net.apply), variables, x) == (0, 1, 0)


# Which is the faster


@pytest.mark.parametrize(
    ("name", "width", "dtype"),
    [(MATRIX, 64, "bfloat16"), (MATRIX, 16, "float32"), (PAIRS, 64, "float32")],
)
def test_precision_is_that_of_most_multiplications(arithmetic, name, width, dtype):
    arithmetic(name)
    net = jf.FractalNet(10, columns=2, widths=(width,) * 2, dtype=jnp.bfloat16)
    x = jax.ShapeDtypeStruct((4, 16, 16, 3), jnp.float32)
    variables = jax.eval_shape(net.init, jax.random.key(0), x)
    chosen = ops.faster_precision(net.apply, variables, x)
    assert chosen.dtype == dtype
    assert (
        f"% of the multiplications reach the arithmetic that some processor ({name})"
        in chosen.reason
    )


def test_the_processor_of_this_machine_is_known():
    assert processor() is processor()
    assert processor().arithmetic in str(processor())


def test_inputs_of_another_type_than_the_kernel_are_refused_in_a_sentence():
    x, w = jnp.ones((2, 4, 4, 3), jnp.bfloat16), jnp.ones((3, 3, 3, 2))
    with pytest.raises(InputError, match=r"`lhs` .*same dtypes?.*bfloat16.*float\d\d"):
        conv(ops.conv_general_dilated)(x, w)
