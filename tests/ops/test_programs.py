"""What accelerators are given to compile, read from programs exported for them."""

import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export, lax

import jfractal as jf
from jfractal.identity import ByContent
from jfractal.ops import candidates
from jfractal.ops.levels import Level, evaluate
from jfractal.ops.lowering import ConvSpec
from jfractal.training.loop import Program, advance

NHWC = ("NHWC", "HWIO", "NHWC")
PLATFORMS = ["cuda", "tpu"]
LARGE, SMALL = (64, 32, 32, 64), (16, 8, 8, 16)  # on either side of what a product is for
KEY = jax.random.key(0)


def struct(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def program(function, platform, *args):
    """The text of a program for another platform than this."""
    return export.export(jax.jit(function), platforms=[platform])(*args).mlir_module()


def convolutions(text):
    """How many convolutions there are of each number of groups."""
    groups = re.findall(
        r"stablehlo\.convolution.*?batch_group_count = (\d+).*?feature_group_count = (\d+)", text
    )
    return Counter(max(map(int, pair)) for pair in groups)


def batched_products(text):
    return len(re.findall(r"stablehlo\.dot_general.*batching_dims = \[\d", text))


def operand_types(text):
    """The types of numbers that convolutions and matrix products read."""
    pattern = r"stablehlo\.(?:convolution|dot_general).* : \(tensor<([^>]*)>, tensor<([^>]*)>\)"
    return {shape.split("x")[-1] for pair in re.findall(pattern, text) for shape in pair}


def members(number, shape, window=(3, 3), channels=None, **options):
    """Two layers of many nets: gradients by both kernels, and the shapes of these."""
    channels = channels or shape[-1]
    convolve = lambda x, w: jf.ops.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=NHWC, **options
    )
    net = lambda x, v, w: convolve(jnp.tanh(convolve(x, v)), w).sum()
    gradient = jax.grad(lambda x, v, w: jax.vmap(net, (None, 0, 0))(x, v, w).sum(), (1, 2))
    kernels = struct(number, *window, channels, shape[-1])
    return gradient, struct(*shape), kernels, kernels


@pytest.mark.parametrize("platform", PLATFORMS)
def test_large_convolutions_of_some_members_stand_one_by_one(platform):
    """The first layer reads one input: its kernels are one wide kernel, forward and backward."""
    gradient, *args = members(8, LARGE)
    text = program(gradient, platform, *args)
    assert convolutions(text) == {1: 2 + 2 * 8}  # of the second layer, gradients alone are needed


@pytest.mark.parametrize("platform", PLATFORMS)
def test_large_convolutions_of_many_members_are_a_loop(platform):
    gradient, *args = members(32, LARGE)
    text = program(gradient, platform, *args)
    assert convolutions(text) == {1: 2 + 2} and "stablehlo.while" in text


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("number", [8, 128])
@pytest.mark.parametrize(
    ("shape", "window"), [(SMALL, (3, 3)), (LARGE, (1, 1))], ids=["small", "1x1"]
)
def test_small_ones_are_batched_matrix_products(platform, number, shape, window):
    gradient, *args = members(number, shape, window)
    text = program(gradient, platform, *args)
    assert convolutions(text) == {1: 2} and batched_products(text) == 2


@pytest.mark.parametrize("platform", PLATFORMS)
def test_depthwise_ones_are_more_groups(platform):
    """Kernels over one input are more features of the same groups."""
    gradient, *args = members(4, SMALL, channels=1, feature_group_count=16)
    assert set(convolutions(program(gradient, platform, *args))) == {16, 4 * 16}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_lax_groups_what_is_avoided_here(platform):
    x, w = struct(8, *LARGE), struct(8, 3, 3, 64, 64)
    convolve = lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=NHWC)
    assert convolutions(program(jax.vmap(convolve), platform, x, w)) == {8: 1}


CANDIDATES = {
    "grouped": (candidates.GROUPED, {8: 1}, 0),
    "product": (candidates.PRODUCT, {}, 1),
    "unrolled": (candidates.UNROLLED, {1: 8}, 0),
    "looped": (candidates.LOOPED, {1: 1}, 0),
}


@pytest.mark.parametrize("name", CANDIDATES)
@pytest.mark.parametrize("result", ["g", "x", "w"])
def test_every_candidate_computes_the_same(name, result, getkey):
    candidate, num_convolutions, num_products = CANDIDATES[name]
    dimensions = lax.conv_dimension_numbers((2, 5, 4, 3), (3, 3, 3, 6), NHWC)
    spec = ConvSpec((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), dimensions, 1, 1, None, None)
    shapes = {"x": (2, 5, 4, 3), "w": (3, 3, 3, 6), "g": (2, 5, 4, 6)}
    arrays = {
        role: jax.random.normal(getkey(), (8, *shape))
        for role, shape in shapes.items()
        if role != result
    }
    levels = (Level(8, x=True, w=True, g=True),)
    like = struct(*shapes[result])
    chosen = candidates.ACCELERATOR._replace(choose=lambda *_: candidate)
    run = lambda platform: lambda arrays: evaluate(spec, result, like, levels, arrays, platform)
    np.testing.assert_allclose(
        jax.jit(run(chosen))(arrays), jax.jit(run(candidates.CPU))(arrays), rtol=1e-4, atol=1e-4
    )
    text = program(run(chosen), "cuda", arrays)
    assert convolutions(text) == num_convolutions and batched_products(text) == num_products


def fractal_step(dtype):
    """A step of `fit` of a fractal net under drop-path, and its arguments as shapes."""
    net = jf.FractalNet(10, columns=3, widths=(16, 32), conv=jf.BayesConv, dtype=dtype)
    model = jf.fractal_model(
        net, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical()
    )
    method = jf.variational(model, optax.adam(1e-3), num_samples=4)
    x, y = struct(256, 32, 32, 3), struct(256, dtype=jnp.int32)
    variables = jax.eval_shape(net.init, KEY, x)
    state = jax.eval_shape(method.init, variables, KEY)
    number = struct(dtype=jnp.int32)
    about = Program(ByContent(method), ByContent(None), 64, 256)
    orders = struct(1, 256, dtype=jnp.int32)
    return (about, 8, state, (x, y), orders, KEY, number, number, number)


@pytest.mark.slow
@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_step_of_fit(platform):
    """In half precision where asked; no group, no call of Python; the state gives its buffers."""
    args = fractal_step(jnp.bfloat16)
    text = advance.trace(*args).lower(lowering_platforms=(platform,)).as_text()
    assert set(convolutions(text)) == {1}
    assert operand_types(text) == {"bf16"}
    assert "callback" not in text
    assert text.count("tf.aliasing_output") == len(jax.tree.leaves(args[2]))
