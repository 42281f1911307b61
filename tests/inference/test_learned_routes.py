"""A distribution over the columns of a net, inferred with the weights: closed forms."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

import jfractal as jf

CATEGORICAL = jf.likelihoods.Categorical()
NET = jf.FractalNet(3, columns=2, widths=(4,))
X = jax.random.normal(jax.random.key(0), (6, 4, 4, 3))
LABELS = jnp.array([0, 1, 2, 0, 1, 2])
KEY = jax.random.key(2)


def model_of(net, prior=None, routes="learned", **options):
    prior = jf.priors.Flat() if prior is None else prior
    return jf.fractal_model(net, prior=prior, likelihood=CATEGORICAL, routes=routes, **options)


def loss_and_slope(model, variables, batch, num_data):
    """The loss of a step and its gradient, which plain gradient descent leaves in the weights."""
    method = jf.maximum_a_posteriori(model, optax.sgd(1.0))
    state = method.init(variables, KEY)
    after, info = jax.jit(method.update, static_argnames="num_data")(
        state, batch, KEY, num_data=num_data
    )
    slope = jax.tree.map(jnp.subtract, state.params, after.params)
    return info, slope, after


# Where the log likelihood of every column is a constant, all that depends on π has a closed form.

NLL = np.array([0.30, 0.25, 0.27])
NUM_DATA = 40


class Constant(nn.Module):
    """Column c gives class 0 the probability ``exp(−NLL_c)``, whatever the input."""

    columns = (1, 2, 3)

    @nn.compact
    def __call__(self, x, *, train=False, column=None):
        self.param("weight", nn.initializers.zeros, (1,))
        p = np.exp(-NLL[(column or 1) - 1])
        return jnp.broadcast_to(jnp.log(jnp.array([p, 1 - p])), (len(x), 2))


BATCH = jnp.zeros((5, 1)), jnp.zeros(5, int)


def constant(probs):
    return {"params": {"weight": jnp.zeros(1), "routes": jf.Routes.of(probs)}}


def test_loss_and_figures_are_expectations_and_the_kl():
    probs = np.array([0.2, 0.7, 0.1])
    info, _, _ = loss_and_slope(model_of(Constant()), constant(probs), BATCH, NUM_DATA)
    kl = special.rel_entr(probs, np.full(3, 1 / 3)).sum()
    expected = {"loss": probs @ NLL + kl / NUM_DATA, "nll": probs @ NLL, "accuracy": 1.0}
    expected |= {"log_prior": -kl / NUM_DATA}
    expected |= {"probability/1": 0.2, "probability/2": 0.7, "probability/3": 0.1}
    assert {k: float(v) for k, v in info.items()} == pytest.approx(expected, abs=1e-6)


def test_descent_ends_at_the_exact_posterior_and_evidence():
    method = jf.maximum_a_posteriori(model_of(Constant()), optax.sgd(float(NUM_DATA)))
    state = method.init(constant(np.full(3, 1 / 3)), KEY)
    update = jax.jit(method.update, static_argnames="num_data")
    for _ in range(300):
        state, info = update(state, BATCH, KEY, num_data=NUM_DATA)
    joint = np.exp(-NUM_DATA * NLL) / 3
    routes = method.posterior(state).mean()["routes"]
    np.testing.assert_allclose(routes.probs, joint / joint.sum(), atol=1e-5)
    assert float(info["loss"]) == pytest.approx(-np.log(joint.sum()) / NUM_DATA, abs=1e-5)


def test_predictions_mix_the_columns():
    probs = np.array([0.2, 0.7, 0.1])
    model = model_of(Constant())
    log_likelihood = model.log_likelihood(constant(probs), BATCH)
    np.testing.assert_allclose(log_likelihood, np.log(probs @ np.exp(-NLL)), rtol=1e-6)
    prediction = jf.predict(model, jf.Point(constant(probs)), BATCH[0], KEY, num_samples=1)
    np.testing.assert_allclose(prediction.probs[:, 0], probs @ np.exp(-NLL), rtol=1e-6)


# Of a net with weights


@pytest.fixture(scope="module")
def variables():
    variables = jax.jit(NET.init)(jax.random.key(1), X)
    return {**variables, "params": {**variables["params"], "routes": jf.Routes.uniform(2)}}


@pytest.fixture(scope="module")
def alone(variables):
    """Loss and gradient of each column, by hand."""
    rest = {"batch_stats": variables["batch_stats"]}

    def nll(params, column):
        logits, _ = NET.apply(
            {"params": params, **rest}, X, train=True, column=column, mutable=["batch_stats"]
        )
        return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()

    weights = {k: v for k, v in variables["params"].items() if k != "routes"}
    return [jax.jit(jax.value_and_grad(lambda p, c=c: nll(p, c)))(weights) for c in (1, 2)]


def learned(variables, logits):
    params = {**variables["params"], "routes": jf.Routes(jnp.array(logits))}
    info, slope, after = loss_and_slope(
        model_of(NET, drop_path=0.0), {**variables, "params": params}, (X, LABELS), 10
    )
    slope.pop("routes")
    return float(info["loss"]), slope, after


def assert_close(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("column", [1, 2])
def test_one_column_of_probability_1_is_that_column(variables, alone, column):
    loss, slope, _ = learned(variables, 100.0 * np.eye(2)[column - 1])
    expected_loss, expected_slope = alone[column - 1]
    assert loss == pytest.approx(float(expected_loss) + np.log(2) / 10, rel=1e-5)
    assert_close(slope, expected_slope)


def test_equal_probabilities_are_the_mean_over_columns(variables, alone):
    loss, slope, after = learned(variables, np.zeros(2))
    expected_loss, expected_slope = jax.tree.map(lambda *xs: sum(xs) / 2, *alone)
    assert loss == pytest.approx(float(expected_loss), rel=1e-5)
    assert_close(slope, expected_slope)
    for unit, old in variables["batch_stats"]["block1"].items():  # each leaves its statistics
        new = after.variables["batch_stats"]["block1"][unit]["norm"]["alone"]["var"]
        assert jnp.any(new != old["norm"]["alone"]["var"])


class TwoDepths(nn.Module):
    """Column 1 is linear in all inputs; column 2 is deep, but sees only sums of neighbours."""

    columns = (1, 2)

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
def test_selects_the_depth_that_alone_can_do_it(column, label):
    x = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    y = label(x).astype(np.int32)
    net = TwoDepths()
    params = {**net.init(jax.random.key(0), x)["params"], "routes": jf.Routes.uniform(2)}
    method = jf.maximum_a_posteriori(model_of(net), optax.adam(0.03))
    fit = jf.fit(method, params, (x, y), KEY, num_epochs=6, batch_size=50)
    assert fit.posterior.mean()["routes"].probs[column - 1] > 0.99
    logits = net.apply({"params": fit.posterior.mean()}, x, column=column)
    assert (logits.argmax(-1) == y).mean() > 0.95


def test_elbo_of_weights_and_routes_has_one_kl_of_each():
    net, x, y, prior = TwoDepths(), jnp.ones((6, 4)), LABELS % 2, jf.priors.Gaussian(1.0)
    params = net.init(jax.random.key(0), x)["params"] | {"routes": jf.Routes.of((0.3, 0.7))}
    method = jf.variational(model_of(net, prior), optax.sgd(0.1), scale=0.1)
    state = method.init(params, KEY)
    assert isinstance(state.params["routes"], jf.Routes)
    _, info = jax.jit(method.update)(state, (x, y), KEY)
    weights = {k: v for k, v in state.params.items() if k != "routes"}
    kl = jf.kl(weights, prior) + state.params["routes"].kl(jf.Routes.uniform(2))
    np.testing.assert_allclose(info["kl"], kl, rtol=1e-5)
    np.testing.assert_allclose(info["loss"], info["nll"] + kl / 6, rtol=1e-5)


@pytest.mark.parametrize("routes", [{}, {"routes": jf.Routes.uniform(2)}])
def test_the_params_must_hold_a_distribution_over_the_columns(routes):
    params = {"params": {"weight": jnp.zeros(1), **routes}}
    with pytest.raises(jf.InputError, match="`params` must hold a distribution over 3 columns"):
        loss_and_slope(model_of(Constant()), params, BATCH, None)


def test_columns_are_mixed_as_probabilities_of_classes():
    with pytest.raises(jf.InputError, match="`likelihood` must be `Categorical`"):
        jf.fractal_model(
            NET, prior=jf.priors.Flat(), likelihood=jf.likelihoods.Bernoulli(), routes="learned"
        )


def test_a_net_without_columns_has_nothing_to_learn():
    with pytest.raises(jf.InputError, match="`net` has no columns to run alone"):
        model_of(jf.PlainNet(2, widths=(4,)), global_rate=0.0)
