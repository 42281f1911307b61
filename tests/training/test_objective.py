import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal.training import cross_entropy, every_route, partitioned

NET = jf.FractalNet(3, columns=2, widths=(4,))


def test_every_route_is_the_joined_net_and_the_mean_over_columns():
    x = jax.random.normal(jax.random.key(0), (6, 4, 4, 3))
    labels = jnp.array([0, 1, 2, 0, 1, 2])
    variables = jax.jit(NET.init)(jax.random.key(1), x)
    params = variables.pop("params")
    objective = cross_entropy(NET, lambda key, images: images, drop_path=0.0)
    key = jax.random.key(2)

    def alone(route):
        return lambda params: objective(params, variables, (x, labels), key, route, 0).value

    def together(params):
        return every_route(objective, columns=2)(params, variables, (x, labels), key, None, 0)

    value, gradient = jax.jit(jax.value_and_grad(lambda p: together(p).value))(params)
    parts = [jax.jit(jax.value_and_grad(alone(route)))(params) for route in (None, 1, 2)]
    mix = lambda joined, one, two: joined + (one + two) / 2
    np.testing.assert_allclose(value, mix(*(v for v, _ in parts)), rtol=1e-5)
    expected = jax.tree.map(mix, *(g for _, g in parts))
    for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    # Every pass has left its statistics.
    statistics = jax.jit(together)(params).variables["batch_stats"]["block1"]
    for unit, old in variables["batch_stats"]["block1"].items():
        for route in ("joined", "alone"):
            assert jnp.any(statistics[unit]["norm"][route]["var"] != old["norm"][route]["var"])


def test_partitions_are_trained_each_by_its_route():
    x = jax.random.normal(jax.random.key(0), (8, 4, 4, 3))
    labels = jnp.array([0, 1, 2, 0, 1, 2, 0, 1])
    variables = jax.jit(NET.init)(jax.random.key(1), x)
    params = variables.pop("params")
    objective = cross_entropy(NET, lambda key, images: images, drop_path=0.0)
    key = jax.random.key(2)

    @jax.jit
    def together(params):
        return partitioned(objective, columns=2)(params, variables, (x, labels), key, None, 0).value

    shares = {None: (slice(0, 4), 1 / 2), 1: (slice(4, 6), 1 / 4), 2: (slice(6, 8), 1 / 4)}

    @jax.jit
    def apart(params):
        return sum(
            weight * objective(params, variables, (x[part], labels[part]), key, route, 0).value
            for route, (part, weight) in shares.items()
        )

    np.testing.assert_allclose(together(params), apart(params), rtol=1e-5)
    ours, theirs = jax.grad(together)(params), jax.grad(apart)(params)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    with pytest.raises(jf.InputError, match="`batch_size` must be a multiple of 4, got 6"):
        partitioned(objective, columns=2)(params, variables, (x[:6], labels[:6]), key, None, 0)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_bad_rates_of_drop_path(rate):
    with pytest.raises(jf.InputError, match=rf"`drop_path` must be in \[0, 1\), got {rate}"):
        cross_entropy(NET, lambda key, images: images, drop_path=rate)


@pytest.mark.parametrize("routes", [every_route, partitioned])
def test_there_must_be_columns(routes):
    with pytest.raises(jf.InputError, match="`columns` must be at least 1, got 0"):
        routes(lambda *_: None, columns=0)
