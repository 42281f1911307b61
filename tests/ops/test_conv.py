import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jfractal import ops
from jfractal.errors import InputError

NHWC, NWC = ("NHWC", "HWIO", "NHWC"), ("NWC", "WIO", "NWC")
LARGE, SMALL = (2, 6, 7, 6), (2, 4, 3, 6)  # on either side of the switch to a matrix product
FEW = (2, 6, 7, 4)  # a large map of few features
MANY = 13  # output features, more than half as many as pixels in a batch of small maps


def normal(seed, *shapes):
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes)]


def assert_equals_lax(program, *args):
    """``program(conv)`` is the same function for both convolutions."""
    ours = jax.jit(program(ops.conv_general_dilated))(*args)
    theirs = jax.jit(program(lax.conv_general_dilated))(*args)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype
        atol = 1e-6 * max(10, np.abs(b).max(initial=0))  # sums of large terms that cancel
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)


def with_gradients(conv, axes=()):
    """The output, and the gradients of one projection of it by input and by kernel."""
    for in_axes in axes:
        conv = jax.vmap(conv, in_axes)

    def program(x, w):
        y, pull_back = jax.vjp(conv, x, w)
        return y, pull_back(jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    return program


def same(conv):
    """A convolution as nets use it: 3×3, stride 1, channels last."""
    return lambda x, w: conv(x, w, (1, 1), "SAME", dimension_numbers=NHWC)


@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        pytest.param(LARGE, (3, 3, 6, 5), {}, id="large map"),
        pytest.param(SMALL, (3, 3, 6, 5), {}, id="small map"),
        pytest.param(FEW, (3, 3, 4, 5), {}, id="few features"),
        pytest.param(FEW, (3, 2, 4, 5), {"rhs_dilation": (1, 2), "strides": (2, 1)}, id="few, all"),
        pytest.param((2, 1, 1, 6), (3, 3, 6, 5), {}, id="one pixel"),
        pytest.param(SMALL, (1, 1, 6, 5), {}, id="1x1 kernel"),
        pytest.param(SMALL, (2, 4, 6, 5), {}, id="even kernel"),
        pytest.param(SMALL, (3, 3, 6, MANY), {}, id="small map, wide"),
        pytest.param(SMALL, (2, 4, 6, MANY), {}, id="even kernel, wide"),
        pytest.param((2, 1, 1, 6), (3, 3, 6, MANY), {}, id="one pixel, wide"),
        pytest.param((2, 5, 5, 6), (3, 3, 6, MANY), {"padding": "VALID"}, id="valid, wide"),
        pytest.param((2, 9, 6), (3, 6, MANY), {"dimension_numbers": NWC}, id="1-D, wide"),
        pytest.param(
            (2, 7, 8, 6),
            (3, 2, 6, MANY),
            {"rhs_dilation": (1, 2), "strides": (2, 3), "padding": ((0, 2), (-1, 3))},
            id="everything, wide",
        ),
        pytest.param(LARGE, (3, 3, 6, 5), {"strides": (2, 1)}, id="strides"),
        pytest.param((2, 7, 8, 6), (3, 3, 6, 5), {"strides": (2, 3)}, id="strides to a small map"),
        pytest.param(LARGE, (3, 3, 6, 5), {"padding": "VALID"}, id="valid"),
        pytest.param((2, 5, 5, 6), (3, 3, 6, 5), {"padding": "VALID"}, id="valid to a small map"),
        pytest.param(SMALL, (3, 3, 6, 5), {"padding": ((2, 0), (1, 3))}, id="explicit padding"),
        pytest.param(LARGE, (3, 3, 6, 5), {"padding": ((-1, 0), (2, -1))}, id="negative padding"),
        pytest.param((2, 5, 5, 6), (3, 3, 6, 5), {"padding": ((-1, 0), (-1, 0))}, id="cropped"),
        pytest.param(SMALL, (3, 3, 6, 5), {"padding": "SAME_LOWER", "strides": (2, 2)}, id="lower"),
        pytest.param(LARGE, (3, 3, 6, 5), {"rhs_dilation": (2, 1)}, id="dilated kernel"),
        pytest.param(
            (16, 9, 11, 6),
            (3, 2, 6, 5),
            {"rhs_dilation": (1, 2), "strides": (2, 1), "padding": ((0, 2), (-1, 3))},
            id="everything, in slices",
        ),
        pytest.param(SMALL, (3, 3, 6, 5), {"rhs_dilation": (1, 2)}, id="dilated kernel, small"),
        pytest.param(
            (2, 3, 2, 6),
            (3, 3, 6, 5),
            {"lhs_dilation": (2, 3), "padding": ((1, 1), (0, 2))},
            id="dilated input",
        ),
        pytest.param(LARGE, (3, 3, 3, 6), {"feature_group_count": 2}, id="groups"),
        pytest.param(SMALL, (3, 3, 1, 6), {"feature_group_count": 6}, id="depthwise, small map"),
        pytest.param((4, 6, 6, 3), (3, 3, 3, 4), {"batch_group_count": 2}, id="batch groups"),
        pytest.param((2, 40, 6), (3, 6, 5), {"dimension_numbers": NWC}, id="1-D"),
        pytest.param((2, 9, 6), (3, 6, 5), {"dimension_numbers": NWC}, id="1-D, small map"),
        pytest.param((2, 4, 6, 7), (5, 4, 3, 3), {"dimension_numbers": None}, id="NCHW"),
    ],
)
def test_value_and_gradients_are_those_of_lax(x, w, options):
    options = {
        "strides": (1,) * (len(x) - 2),
        "dimension_numbers": NHWC,
        "padding": "SAME",
    } | options
    strides, padding = options.pop("strides"), options.pop("padding")
    assert_equals_lax(
        lambda conv: with_gradients(lambda x, w: conv(x, w, strides, padding, **options)),
        *normal(0, x, w),
    )


@pytest.mark.parametrize(
    ("axes", "x", "w"),
    [
        pytest.param([(None, 0)], LARGE, (3,), id="kernels"),
        pytest.param([(None, 0)], SMALL, (3,), id="kernels, small map"),
        pytest.param([(0, None)], (3, *LARGE), (), id="inputs"),
        pytest.param([(0, None)], (3, *SMALL), (), id="inputs, small map"),
        pytest.param([(0, 0)], (3, *LARGE), (3,), id="both"),
        pytest.param([(0, 0)], (3, *SMALL), (3,), id="both, small map"),
        pytest.param([(0, 0)], (1, *LARGE), (1,), id="one of both"),
        pytest.param([(0, 0), (None, 0)], (3, *LARGE), (2, 3), id="both within kernels"),
        pytest.param([(None, 0), (0, 0)], (2, *SMALL), (2, 3), id="kernels within both"),
        pytest.param([(None, 0), (0, None)], (2, *LARGE), (3,), id="kernels within inputs"),
        pytest.param([(0, None), (None, 0)], (2, *SMALL), (3,), id="inputs within kernels"),
    ],
)
@pytest.mark.parametrize("features", [5, MANY])
def test_vmap(axes, x, w, features):
    args = normal(1, x, (*w, 3, 3, 6, features))
    assert_equals_lax(lambda conv: with_gradients(same(conv), axes), *args)


@pytest.mark.parametrize("axes", [(None, 0), (0, None), (0, 0)])
@pytest.mark.parametrize("groups", ["feature_group_count", "batch_group_count"])
def test_vmap_of_grouped_convolutions(axes, groups):
    channels = 2 if groups == "feature_group_count" else 4
    x, w = normal(2, (3, 2, 5, 5, 4), (3, 3, 3, channels, 6))
    args = [a if axis == 0 else a[0] for a, axis in zip((x, w), axes)]
    assert_equals_lax(
        lambda conv: with_gradients(
            lambda x, w: conv(x, w, (1, 1), "SAME", dimension_numbers=NHWC, **{groups: 2}), [axes]
        ),
        *args,
    )


@pytest.mark.parametrize("axes", [("data", None), (None, "data"), ("data", "data")])
@pytest.mark.parametrize("shape", [LARGE, SMALL], ids=["large map", "small map"])
def test_over_sharded_arrays(shape, axes):
    """Examples, or output features, or both, over two devices."""
    mesh = Mesh(jax.devices()[:2], "data")
    on_x, on_w = (NamedSharding(mesh, spec) for spec in (P(axes[0]), P(None, None, None, axes[1])))
    x, w = normal(8, shape, (3, 3, shape[-1], 4))
    assert_equals_lax(
        lambda conv: with_gradients(same(conv)), jax.device_put(x, on_x), jax.device_put(w, on_w)
    )


def test_vmap_over_other_axes():
    x, w = normal(3, (2, 6, 3, 7, 6), (3, 3, 6, 3, 5))
    assert_equals_lax(
        lambda conv: with_gradients(jax.vmap(same(conv), in_axes=(2, -2), out_axes=1)),
        x,
        w,
    )


def test_vmap_of_the_gradient():
    x, w = normal(4, SMALL, (3, 3, 3, 6, 5))
    assert_equals_lax(lambda conv: jax.vmap(with_gradients(same(conv)), (None, 0)), x, w)


@pytest.mark.parametrize("remat", [lambda f: f, jax.checkpoint], ids=["kept", "remat"])
def test_scan_of_vmapped_layers(remat):
    x, w = normal(5, (2, 1, 4, 4, 3), (3, 2, 3, 3, 3, 3))  # 3 layers of 2 nets

    def program(conv):
        layer = jax.vmap(lambda x, w: jnp.tanh(same(conv)(x, w)))
        return with_gradients(
            lambda x, w: lax.scan(remat(lambda x, w: (layer(x, w), None)), x, w)[0]
        )

    assert_equals_lax(program, x, w)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"strides": 2, "kernel_dilation": 2}, (2, 9, 8, 4)),
        ({"feature_group_count": 2, "padding": [(1, 0), (0, 2)]}, (2, 6, 6, 4)),
        ({"padding": "CIRCULAR", "use_bias": False}, (2, 4, 4, 4)),
        ({"kernel_size": (3,), "padding": "CAUSAL"}, (2, 12, 4)),
        ({"input_dilation": 2, "padding": 1}, (3, 2, 4, 4, 4)),
        ({}, (4, 4, 4)),
    ],
)
def test_under_flax(options, shape):
    options = {"features": 6, "kernel_size": (3, 3)} | options
    (x,) = normal(6, shape)
    params = nn.Conv(**options).init(jax.random.key(0), x)
    assert_equals_lax(
        lambda conv: nn.Conv(**options, conv_general_dilated=conv).apply,
        params,
        x,
    )


@pytest.mark.parametrize("map_shape", [LARGE, SMALL], ids=["large map", "small map"])
def test_low_precision(map_shape):
    x, w = (a.astype(jnp.bfloat16) for a in normal(7, map_shape, (3, 3, 6, 5)))
    y = same(ops.conv_general_dilated)(x, w)
    wide = partial(ops.conv_general_dilated, preferred_element_type=jnp.float32)
    expected = same(lax.conv_general_dilated)(x.astype(jnp.float32), w.astype(jnp.float32))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=0.02, atol=0.05)
    y = same(wide)(x, w)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def group_counts(function, *args):
    """The group counts of all convolutions in the program lowered for CPU."""
    text = jax.jit(function).trace(*args).lower(lowering_platforms=("cpu",)).as_text()
    return {int(n) for n in re.findall(r"(?:feature|batch)_group_count = (\d+)", text)}


def test_vmapped_nets_have_no_grouped_convolution_on_cpu():
    x, w1, w2 = normal(8, LARGE, (8, 3, 3, 6, 6), (8, 3, 3, 6, 6))

    def program(conv):
        net = lambda w1, w2: same(conv)(jnp.tanh(same(conv)(x, w1)), w2).sum()
        return jax.grad(lambda w1, w2: jax.vmap(net)(w1, w2).sum(), argnums=(0, 1))

    assert group_counts(program(ops.conv_general_dilated), w1, w2) == {1}
    assert 8 in group_counts(program(lax.conv_general_dilated), w1, w2)  # what is being avoided


@pytest.mark.parametrize("strides", [(1, 1), (2, 1)])
def test_in_a_loop_all_convolutions_have_the_layout_of_the_fast_kernels_on_cpu(strides):
    """XLA's CPU backend transposes for them at the top of a program only, not in its loops."""

    def descend(x, w):
        loss = lambda w: (
            ops.conv_general_dilated(x, w, strides, "SAME", dimension_numbers=NHWC) ** 2
        ).sum()
        return lax.scan(lambda w, _: (w - 1e-3 * jax.grad(loss)(w), None), w, None, length=3)

    x, w = normal(0, (16, 8, 8, 6), (3, 3, 6, 6))
    text = jax.jit(descend).lower(x, w).compile().as_text()
    labels = re.findall(r" convolution\(.*dim_labels=([^,]+)", text)
    assert "while" in text and labels
    assert set(labels) == {"b01f_01io->b01f"}


@pytest.mark.parametrize(("shape", "features"), [(SMALL, 5), (SMALL, MANY), (FEW, 5)])
def test_small_maps_and_few_features_are_matrix_products_on_cpu(shape, features):
    x, w = normal(9, shape, (3, 3, shape[-1], features))
    assert group_counts(with_gradients(same(ops.conv_general_dilated)), x, w) == set()


def test_shapes_that_do_not_match_are_refused():
    x, w = normal(12, SMALL, (3, 3, 3, 5))
    with pytest.raises((TypeError, ValueError)):
        same(ops.conv_general_dilated)(x, w)


def test_explicit_axes_of_a_mesh_are_left_to_the_caller():
    """Within `auto_axes` they are those of any other mesh."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,))
    x, w = normal(13, LARGE, (3, 3, 6, 5))
    expected = same(ops.conv_general_dilated)(x, w)
    with jax.set_mesh(mesh):
        x, w = jax.device_put(x, NamedSharding(mesh, P("data"))), jax.device_put(w, P())
        with pytest.raises(InputError, match=r"`AxisType\.Explicit`.*float\d\d\[2@data,6,7,6\]"):
            jax.jit(same(ops.conv_general_dilated))(x, w)
        follow = jax.sharding.auto_axes(same(ops.conv_general_dilated), out_sharding=P("data"))
        gradient = jax.jit(jax.grad(lambda x, w: (follow(x, w) ** 2).sum(), (0, 1)))(x, w)
        y = jax.jit(follow)(x, w)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    assert [g.shape for g in gradient] == [x.shape, w.shape]
