"""A distribution over routes, against closed forms and against each route alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

import jfractal as jf
from jfractal.training import (
    Checkpoints,
    DropPath,
    Trainer,
    TrainState,
    cross_entropy,
    learned_routes,
    negative_elbo,
)
from jfractal.training.objective import Loss

NET = jf.FractalNet(3, columns=2, widths=(4,))
X = jax.random.normal(jax.random.key(0), (6, 4, 4, 3))
LABELS = jnp.array([0, 1, 2, 0, 1, 2])
KEY = jax.random.key(2)


def as_they_are(key, images):
    return images


@pytest.fixture(scope="module")
def net():
    """Params, statistics, and value and gradient of each route alone."""
    variables = jax.jit(NET.init)(jax.random.key(1), X)
    params = variables.pop("params")
    objective = cross_entropy(NET, as_they_are, drop_path=0.0)

    def alone(route):
        return lambda params: objective(params, variables, (X, LABELS), KEY, route, 0).value

    parts = [jax.jit(jax.value_and_grad(alone(route)))(params) for route in (None, 1, 2)]
    return objective, params, variables, parts


def assert_close(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


# On losses that are constants, all that depends on π has a closed form.

LOSSES = np.array([0.30, 0.25, 0.27])
PRIOR = (0.5, 0.2, 0.3)
NUM_DATA = 40


def constant(params, variables, batch, key, route, step):
    value = jnp.asarray(LOSSES[route - 1])
    return Loss(value, {"loss": value, "square": value**2}, variables)


def loss_of_routes(routes, prior=None, num_data=NUM_DATA):
    objective = learned_routes(constant, routes=(1, 2, 3), num_data=num_data, prior=prior)
    return objective({"routes": routes}, {}, (X, LABELS), KEY, None, 0)


def test_value_and_metrics_are_expectations_and_the_kl():
    probs = np.array([0.2, 0.7, 0.1])
    loss = loss_of_routes(jf.Routes.of(probs), jf.Routes.of(PRIOR))
    kl = special.rel_entr(probs, PRIOR).sum()
    assert loss.value == pytest.approx(probs @ LOSSES + kl / NUM_DATA, abs=1e-6)
    shown = {name: float(value) for name, value in loss.metrics.items()}
    probabilities = {"probability/1": 0.2, "probability/2": 0.7, "probability/3": 0.1}
    expected = {"loss": float(loss.value), "square": probs @ LOSSES**2, "routes_kl": kl}
    assert shown == pytest.approx(expected | probabilities, abs=1e-6)


@pytest.mark.parametrize("probs", [PRIOR, None])
def test_descent_ends_at_the_exact_posterior_and_evidence(probs):
    prior = jf.Routes.uniform(3) if probs is None else jf.Routes.of(probs)
    p = np.full(3, 1 / 3) if probs is None else np.array(probs)
    value = lambda q: loss_of_routes(q, None if probs is None else prior).value
    step = jax.jit(lambda q: jax.tree.map(lambda x, g: x - NUM_DATA * g, q, jax.grad(value)(q)))
    routes = jf.Routes(jnp.zeros(3))
    for _ in range(300):
        routes = step(routes)
    joint = p * np.exp(-NUM_DATA * LOSSES)
    np.testing.assert_allclose(routes.probs, joint / joint.sum(), atol=1e-5)
    assert value(routes) == pytest.approx(-np.log(joint.sum()) / NUM_DATA, abs=1e-5)


@pytest.fixture(scope="module")
def value_and_gradient(net):
    """Of the objective over all three routes, in the weights; ``num_data`` is 10."""
    objective, params, variables, _ = net
    learned = learned_routes(objective, routes=(None, 1, 2), num_data=10)

    def value(params, routes):
        return learned({**params, "routes": routes}, variables, (X, LABELS), KEY, None, 0).value

    compiled = jax.jit(jax.value_and_grad(value))
    return lambda routes: compiled(params, routes)


@pytest.mark.parametrize("route", [0, 1, 2])
def test_one_route_of_probability_1_is_that_route(net, value_and_gradient, route):
    value, gradient = value_and_gradient(jf.Routes(100.0 * jnp.eye(3)[route]))
    expected_value, expected_gradient = net[-1][route]
    np.testing.assert_allclose(value, expected_value + np.log(3) / 10, rtol=1e-5)
    assert_close(gradient, expected_gradient)


def test_equal_probabilities_are_the_mean_over_routes(net, value_and_gradient):
    value, gradient = value_and_gradient(jf.Routes.uniform(3))
    expected_value, expected_gradient = jax.tree.map(lambda *xs: sum(xs) / 3, *net[-1])
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    assert_close(gradient, expected_gradient)


def test_routes_leave_their_statistics(net):
    objective, params, variables, _ = net
    learned = learned_routes(objective, routes=(None, 1, 2), num_data=10)
    params = {**params, "routes": jf.Routes.uniform(3)}
    after = jax.jit(learned, static_argnums=4)(
        params, variables, (X, LABELS), KEY, None, 0
    ).variables
    for unit, old in variables["batch_stats"]["block1"].items():
        for route in ("joined", "alone"):
            new = after["batch_stats"]["block1"][unit]["norm"][route]["var"]
            assert jnp.any(new != old["norm"][route]["var"])


class TwoDepths(nn.Module):
    """Column 1 is linear in all inputs; column 2 is deep, but sees only sums of neighbours."""

    @nn.compact
    def __call__(self, x, *, train=False, column=None, drop_path=0.0):
        sums = nn.tanh(nn.Dense(16, name="hidden")(x.reshape(len(x), -1, 2).sum(-1)))
        columns = nn.Dense(2, name="shallow")(x), nn.Dense(2, name="deep")(sums)
        return columns[(column or 1) - 1]


@pytest.mark.parametrize(
    ("column", "label"),
    [
        (1, lambda x: x[:, 0] - x[:, 1] > 0),  # the sum of neighbours has lost it
        (2, lambda x: (x[:, 0] + x[:, 1]) * (x[:, 2] + x[:, 3]) > 0),  # not linear
    ],
)
def test_selects_the_depth_that_alone_can_do_it(column, label, tmp_path):
    x = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    y = label(x).astype(np.int32)
    module, optimizer = TwoDepths(), optax.adam(0.03)
    params = module.init(jax.random.key(0), x)["params"]
    state = TrainState.create({"params": {**params, "routes": jf.Routes.uniform(2)}}, optimizer)
    objective = cross_entropy(module, as_they_are, drop_path=0.0)
    learned = learned_routes(objective, routes=(1, 2), num_data=len(x))
    template, checkpoints = jax.tree.map(jnp.zeros_like, state), Checkpoints(tmp_path)
    all_at_once = DropPath(2, 0.0)
    trainer = Trainer(learned, optimizer, all_at_once, 6, 50, 0, checkpoints=checkpoints)
    trainer.fit(state, x, y)
    state = checkpoints.restore(template)
    assert state.params["routes"].probs[column - 1] > 0.99
    logits = module.apply(state.model, x, column=column)
    assert (logits.argmax(-1) == y).mean() > 0.95


def test_elbo_of_weights_and_routes_has_one_kl_of_the_weights():
    module, x, y, prior = TwoDepths(), jnp.ones((6, 4)), LABELS % 2, jf.priors.Gaussian(1.0)
    params = jf.mean_field(module.init(jax.random.key(0), x)["params"], scale=0.1)
    bound = negative_elbo(module, as_they_are, drop_path=0.0, prior=prior, num_data=6)
    learned = learned_routes(bound, routes=(1, 2), num_data=6)
    params["routes"] = jf.Routes.of((0.3, 0.7))
    metrics = jax.jit(learned, static_argnums=4)(params, {}, (x, y), KEY, None, 0).metrics
    kl = jf.kl(params, prior) + params["routes"].kl(jf.Routes.uniform(2))
    np.testing.assert_allclose(metrics["loss"], metrics["nll"] + kl / 6, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"routes": ()}, "`routes` must hold at least one route"),
        ({"num_data": 0}, "`num_data` must be at least 1, got 0"),
        ({"prior": jf.Routes.uniform(3)}, "`prior` must be over 2 routes, got 3 probabilities"),
    ],
)
def test_learned_routes_refuses(options, said):
    with pytest.raises(jf.InputError, match=said):
        learned_routes(constant, **{"routes": (1, 2), "num_data": 1, **options})


@pytest.mark.parametrize("params", [{}, {"routes": jf.Routes.uniform(2)}])
def test_the_params_must_hold_a_distribution_over_the_routes(params):
    learned = learned_routes(constant, routes=(1, 2, 3), num_data=1)
    with pytest.raises(jf.InputError, match='`params` must hold a `Routes` over 3 routes as "rout'):
        learned(params, {}, (X, LABELS), KEY, None, 0)
