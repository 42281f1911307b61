import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal.errors import InputError
from jfractal.nn.norms import NORMS, get_norm

SHAPE = (4, 3, 5, 16)


@pytest.fixture
def x():
    return 3 * jax.random.normal(jax.random.key(0), SHAPE) + 1


def affine(y):
    """Parameters other than at init, and what they do to a normalised map."""
    scale, bias = jnp.linspace(0.5, 2, SHAPE[-1]), jnp.linspace(-1, 1, SHAPE[-1])
    return {"scale": scale, "bias": bias}, np.asarray(y) * np.asarray(scale) + np.asarray(bias)


def moments(x, axes):
    x = np.asarray(x, np.float64)
    return x.mean(axes, keepdims=True), x.var(axes, keepdims=True)


@pytest.mark.parametrize(("route", "alone"), [("joined", False), ("alone", True)])
def test_batch_norm_keeps_one_set_of_statistics_per_route(x, route, alone):
    norm, other = get_norm("batch")(), {"joined": "alone", "alone": "joined"}[route]
    variables = norm.init(jax.random.key(0), x, train=True, alone=False)
    assert set(variables["batch_stats"]) == {"joined", "alone", "shared"}
    assert set(variables["params"]) == {"scale", "bias"}
    start = variables["batch_stats"]
    mean, variance = moments(x, (0, 1, 2))
    params, expected = affine((x - mean) / np.sqrt(variance + 1e-5))
    y, updated = norm.apply(
        variables | {"params": params}, x, train=True, alone=alone, mutable=["batch_stats"]
    )
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    statistics = updated["batch_stats"]
    np.testing.assert_allclose(statistics[route]["mean"], 0.1 * mean.ravel(), rtol=1e-4)
    np.testing.assert_allclose(statistics[route]["var"], 0.9 + 0.1 * variance.ravel(), rtol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, statistics[other], start[other])
    jax.tree.map(np.testing.assert_array_equal, statistics["shared"], statistics[route])
    # At test the running statistics of the route are used, and nothing is updated.
    y = norm.apply({"params": params, **updated}, x, train=False, alone=alone)
    running_mean, running_variance = 0.1 * mean, 0.9 + 0.1 * variance
    _, expected = affine((x - running_mean) / np.sqrt(running_variance + 1e-5))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_shared_statistics_are_those_of_every_route(x):
    norm = get_norm("batch_shared")()
    variables = norm.init(jax.random.key(0), x, train=True, alone=False)
    running = 0.0
    for alone, batch in [(False, x), (True, 2 * x + 1), (True, x - 1)]:
        _, updated = norm.apply(variables, batch, train=True, alone=alone, mutable=["batch_stats"])
        variables |= updated
        running = 0.9 * running + 0.1 * moments(batch, (0, 1, 2))[0]
    shared = variables["batch_stats"]["shared"]
    np.testing.assert_allclose(shared["mean"], running.ravel(), rtol=1e-4)
    expected = (x - shared["mean"].reshape(1, 1, 1, -1)) * jax.lax.rsqrt(
        shared["var"].reshape(1, 1, 1, -1) + 1e-5
    )
    for alone in (False, True):
        y = norm.apply(variables, x, train=False, alone=alone)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("alone", [True, False])
def test_filter_response_norm_divides_by_the_root_mean_square(x, train, alone):
    square = np.mean(np.asarray(x, np.float64) ** 2, axis=(1, 2), keepdims=True)
    params, expected = affine(x / np.sqrt(square + 1e-6))
    y = get_norm("frn")().apply({"params": params}, x, train=train, alone=alone)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_group_norm_has_eight_channels_a_group(x):
    norm = get_norm("group")()
    variables = norm.init(jax.random.key(0), x, train=True, alone=False)
    grouped = np.asarray(x, np.float64).reshape(4, 15, 2, 8)
    mean, variance = moments(grouped, (1, 3))
    expected = ((grouped - mean) / np.sqrt(variance + 1e-6)).reshape(SHAPE)
    y = norm.apply(variables, x, train=True, alone=False)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_none_is_the_identity(x):
    norm = get_norm("none")()
    assert norm.init(jax.random.key(0), x, train=True, alone=False) == {}
    np.testing.assert_array_equal(norm.apply({}, x, train=True, alone=True), x)


@pytest.mark.parametrize("name", [name for name in NORMS if not name.startswith("batch")])
def test_all_but_batch_norm_see_one_example_at_a_time(x, name):
    norm = get_norm(name)()
    variables = norm.init(jax.random.key(0), x, train=True, alone=False)
    assert "batch_stats" not in variables
    together = norm.apply(variables, x, train=True, alone=False)
    lone = norm.apply(variables, x[1:2], train=True, alone=False)
    np.testing.assert_allclose(together[1:2], lone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NORMS)
def test_precision_is_kept(x, name):
    norm = get_norm(name)()
    variables = norm.init(jax.random.key(0), x, train=False, alone=False)
    y = norm.apply(variables, x.astype(jnp.bfloat16), train=False, alone=False)
    assert y.dtype == jnp.bfloat16


@pytest.mark.parametrize("name", ["frn", "batch", "group"])
def test_a_constant_zero_map_has_finite_gradients(name):
    norm, zero = get_norm(name)(), jnp.zeros((2, 3, 3, 8))
    variables = norm.init(jax.random.key(0), zero, train=False, alone=False)

    def value(x):
        y, _ = norm.apply(variables, x, train=True, alone=False, mutable=["batch_stats"])
        return jnp.sum(y**2 + y)

    assert jnp.isfinite(jax.grad(value)(zero)).all()


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match=r"`norm` must be one of batch, .*, got 'instance'"):
        get_norm("instance")
