from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal.nn import BayesConv, FractalNet
from jfractal.nn.initializers import aligned
from jfractal.posterior import mean

WIDTHS = (4, 8)


def kernels(params, block):
    return {name: unit["conv"]["kernel"] for name, unit in params[block].items()}


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(0), (2, 8, 8, 3))


@pytest.fixture(scope="module")
def params(x):
    net = FractalNet(5, widths=WIDTHS, norm="none", kernel_init="aligned")
    return net.init(jax.random.key(1), x)["params"]


@pytest.mark.parametrize("window", [(3,), (3, 3), (5, 5), (1, 1)])
def test_a_kernel_that_keeps_the_channels_is_the_identity(window):
    kernel = aligned(jax.random.key(0))(jax.random.key(1), (*window, 4, 4), jnp.float32)
    x = jax.random.normal(jax.random.key(2), (2, *(7,) * len(window), 4))
    dimensions = "NWC WIO NWC" if len(window) == 1 else "NHWC HWIO NHWC"
    y = jax.lax.conv_general_dilated(
        x, kernel, (1,) * len(window), "SAME", dimension_numbers=tuple(dimensions.split())
    )
    chex.assert_trees_all_close(y, x, atol=1e-6)


def test_columns_share_their_first_kernel_and_blocks_do_not(params):
    drawn = [np.asarray(kernels(params, block)["column1_unit1"]) for block in ("block1", "block2")]
    for column in (2, 3):
        chex.assert_trees_all_equal(kernels(params, "block1")[f"column{column}_unit1"], drawn[0])
    assert np.unique(drawn[0]).size == drawn[0].size
    assert not np.isclose(drawn[1][:, :, :3, :4], drawn[0]).any()


def test_without_a_norm_every_route_starts_as_the_same_function(params, x):
    net = FractalNet(5, widths=WIDTHS, norm="none")
    whole = net.apply({"params": params}, x)
    assert np.ptp(np.asarray(whole)) > 0.1
    for column in (1, 2, 3):
        chex.assert_trees_all_close(
            net.apply({"params": params}, x, column=column), whole, atol=1e-5
        )
    dropped = net.apply({"params": params}, x, drop_path=0.5, rngs={"drop_path": jax.random.key(2)})
    chex.assert_trees_all_close(dropped, whole, atol=1e-5)


def test_he_columns_differ_from_the_start(x):
    net = FractalNet(5, widths=WIDTHS, norm="none", kernel_init="he")
    params = net.init(jax.random.key(1), x)["params"]
    alone = [net.apply({"params": params}, x, column=column) for column in (1, 2, 3)]
    assert np.abs(np.asarray(alone[0]) - np.asarray(alone[2])).max() > 0.1


def test_bayesian_kernels_are_aligned_in_their_means(params, x):
    conv = partial(BayesConv, scale=0.02)
    bayes = FractalNet(5, widths=WIDTHS, norm="none", kernel_init="aligned", conv=conv)
    lifted = bayes.init(jax.random.key(1), x)["params"]
    chex.assert_trees_all_close(
        kernels(mean(lifted), "block1"), kernels(params, "block1"), atol=1e-6
    )
