import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal.errors import InputError
from jfractal.posterior import (
    Gaussian,
    group_snr,
    mean,
    mean_field,
    prune,
    sample,
    snr,
    unit_snr,
)
from jfractal.posterior.gaussian import gaussians, inverse_softplus
from jfractal.posterior.pruning import settled

# Signal-to-noise 1, 2, 3, 4; 0.5, 6; and a point estimate.
TREE = {
    "body": {
        "kernel": Gaussian(
            jnp.array([[1.0, -4.0], [3.0, 2.0]]),
            inverse_softplus(jnp.array([[1.0, 2.0], [1.0, 0.5]])),
        ),
        "bias": Gaussian(
            jnp.array([-0.5, 3.0]), 2 * jnp.log(jnp.array([1.0, 0.5])), "flipout", "log_variance"
        ),
    },
    "head": jnp.array([7.0, 8.0]),
}
ALL = [1, 2, 3, 4, 0.5, 6]


def test_snr_of_every_weight():
    ratios = snr(TREE)
    np.testing.assert_allclose(ratios["body"]["kernel"], [[1, 2], [3, 4]], rtol=1e-6)
    np.testing.assert_allclose(ratios["body"]["bias"], [0.5, 6], rtol=1e-6)
    np.testing.assert_array_equal(ratios["head"], [np.inf, np.inf])


def test_snr_of_units():
    # √(Σ mean² / Σ std²), by hand: columns (1, 3)/(1, 1), (−4, 2)/(2, 0.5) and rows.
    outputs, inputs = unit_snr(TREE), unit_snr(TREE, axis=-2)
    columns, rows = [10 / 2, 20 / 4.25], [17 / 5, 13 / 1.25]
    np.testing.assert_allclose(outputs["body"]["kernel"], np.sqrt(columns), rtol=1e-6)
    np.testing.assert_allclose(inputs["body"]["kernel"], np.sqrt(rows), rtol=1e-6)
    np.testing.assert_allclose(outputs["body"]["bias"], [0.5, 6], rtol=1e-6)
    np.testing.assert_allclose(inputs["body"]["bias"], np.sqrt([9.25 / 1.25]), rtol=1e-6)
    np.testing.assert_array_equal(outputs["head"], [np.inf, np.inf])


def test_units_of_a_convolution_are_its_filters():
    kernel = mean_field(jax.random.normal(jax.random.key(0), (3, 3, 2, 4)), scale=0.5)
    for axis, n in [(-1, 4), (-2, 2)]:
        slices = np.moveaxis(np.asarray(kernel.mean), axis, 0).reshape(n, -1)
        expected = np.sqrt((slices**2).mean(1)) / 0.5
        np.testing.assert_allclose(unit_snr(kernel, axis=axis), expected, rtol=1e-5)


def test_snr_of_a_group():
    np.testing.assert_allclose(group_snr(TREE), np.sqrt((30 + 9.25) / (6.25 + 1.25)), rtol=1e-6)
    bias = group_snr(TREE, where=lambda path, leaf: path == "body/bias")
    np.testing.assert_allclose(bias, np.sqrt(9.25 / 1.25), rtol=1e-6)
    assert group_snr(TREE, where=lambda path, leaf: False) == jnp.inf
    np.testing.assert_allclose(group_snr(mean_field(jnp.array(-3.0), scale=2.0)), 1.5, rtol=1e-6)


@pytest.mark.parametrize("fraction", [0.0, 1 / 6, 0.5, 5 / 6, 1.0])
def test_the_lowest_go_over_the_whole_tree(fraction):
    pruned = jax.jit(prune, static_argnums=1)(TREE, fraction)
    chex.assert_trees_all_equal_shapes_and_dtypes(pruned, TREE)
    going = sorted(ALL)[: round(6 * fraction)]
    draws = [sample(pruned, jax.random.key(i)) for i in (0, 1)]
    for name in ("kernel", "bias"):
        gone = np.isin(np.round(snr(TREE)["body"][name], 4), going)
        for draw in (*draws, mean(pruned)):
            np.testing.assert_array_equal(draw["body"][name] == 0, gone)
        before, after = TREE["body"][name], pruned["body"][name]
        assert (after.estimator, after.parameterisation) == (
            before.estimator,
            before.parameterisation,
        )
        np.testing.assert_array_equal(after.mean[~gone], before.mean[~gone])
        np.testing.assert_array_equal(after.rho[~gone], before.rho[~gone])
        np.testing.assert_array_equal(after.std[gone], 0)
        np.testing.assert_array_equal(snr(after)[gone], 0)
    np.testing.assert_array_equal(pruned["head"], TREE["head"])


def test_pruning_again_is_pruning_more():
    chex.assert_trees_all_equal(prune(prune(TREE, 0.5), 5 / 6), prune(TREE, 5 / 6))


def test_ties_do_not_change_the_share():
    q = mean_field({"a": jnp.ones(7), "b": jnp.ones((3, 3))}, scale=0.1)
    assert sum((leaf.mean == 0).sum() for leaf in gaussians(prune(q, 0.75))) == 12


def test_where_limits_what_competes():
    pruned = prune(TREE, 0.5, where=lambda path, leaf: path.endswith("kernel"))
    np.testing.assert_array_equal(pruned["body"]["kernel"].mean, [[0, 0], [3, 2]])
    chex.assert_trees_all_equal(pruned["body"]["bias"], TREE["body"]["bias"])
    chex.assert_trees_all_equal(prune(TREE, 0.5, where=lambda path, leaf: False), TREE)


@pytest.mark.parametrize("parameterisation", ["softplus", "log_variance"])
def test_what_is_gone_has_no_gradient(parameterisation):
    q = mean_field(jnp.array([0.1, 5.0]), scale=1.0, parameterisation=parameterisation)
    loss = lambda q: ((sample(q, jax.random.key(0)) - 1) ** 2).sum()
    gradient = jax.grad(loss)(prune(q, 0.5))
    assert jnp.isfinite(gradient.mean).all() and gradient.rho[0] == 0 and gradient.rho[1] != 0


def test_no_gradient_reaches_the_mean_of_what_is_gone():
    q = mean_field(jnp.array([0.1, 5.0]), scale=1.0)
    loss = lambda q: ((sample(settled(q), jax.random.key(0)) - 1) ** 2).sum()
    gradient = jax.grad(loss)(prune(q, 0.5))
    assert gradient.mean[0] == 0 and gradient.mean[1] != 0


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_share_is_between_0_and_1(fraction):
    with pytest.raises(InputError, match=rf"`fraction` must be in \[0, 1\], got {fraction}"):
        prune(TREE, fraction)
