import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal.training import recalibrate

NET = jf.FractalNet(3, columns=2, widths=(4,))


@pytest.fixture(scope="module")
def x():
    return 2 * jax.random.normal(jax.random.key(0), (12, 4, 4, 3)) + 1


@pytest.fixture(scope="module")
def variables(x):
    return jax.jit(NET.init)(jax.random.key(0), x)


def conv(variables, unit, x):
    kernel = variables["params"]["block1"][unit]["conv"]["kernel"]
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize("batch_size", [3, 4, 12])
def test_statistics_are_those_of_all_the_data(variables, x, batch_size):
    batches = x.reshape(-1, batch_size, *x.shape[1:])
    new = recalibrate(NET.apply, variables, batches)["batch_stats"]["block1"]
    for unit in ("column1_unit1", "column2_unit1"):
        y = conv(variables, unit, x)
        moments = new[unit]["norm"]["joined"]
        np.testing.assert_allclose(moments["mean"], y.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(moments["var"], y.var((0, 1, 2)), rtol=1e-4)


def test_only_the_routes_asked_for_change(variables, x):
    old = variables["batch_stats"]["block1"]
    new = recalibrate(NET.apply, variables, [x], routes=(2,))["batch_stats"]["block1"]
    changed = {
        (unit, route)
        for unit in old
        for route in old[unit]["norm"]
        if jnp.any(old[unit]["norm"][route]["var"] != new[unit]["norm"][route]["var"])
    }
    column = ("column2_unit1", "column2_unit2")
    assert changed == {(unit, route) for unit in column for route in ("alone", "shared")}


def test_shared_statistics_are_of_all_routes_together(variables, x):
    each = [recalibrate(NET.apply, variables, [x], routes=(r,)) for r in (None, 2)]
    both = recalibrate(NET.apply, variables, [x], routes=(None, 2))
    norms = [v["batch_stats"]["block1"]["column2_unit2"]["norm"]["shared"] for v in (*each, both)]
    joined, alone, pooled = norms
    between = (joined["mean"] - alone["mean"]) ** 2 / 4
    mean = (joined["mean"] + alone["mean"]) / 2
    np.testing.assert_allclose(pooled["mean"], mean, rtol=1e-4, atol=1e-5)
    expected = (joined["var"] + alone["var"]) / 2 + between
    np.testing.assert_allclose(pooled["var"], expected, rtol=1e-4)


def test_what_is_evaluated_is_what_was_trained(variables, x):
    # With the statistics of the very batch, evaluation is training.
    for column in (None, 1):
        new = recalibrate(NET.apply, variables, [x], routes=(column,))
        trained, _ = NET.apply(variables, x, train=True, column=column, mutable=["batch_stats"])
        np.testing.assert_allclose(NET.apply(new, x, column=column), trained, rtol=1e-3, atol=1e-4)


def test_there_must_be_statistics_and_batches(variables, x):
    with pytest.raises(jf.InputError, match="`batches` must be a list of one or more"):
        recalibrate(NET.apply, variables, [])
    with pytest.raises(jf.InputError, match="`variables` must hold `batch_stats`"):
        recalibrate(NET.apply, {"params": variables["params"]}, [x])
