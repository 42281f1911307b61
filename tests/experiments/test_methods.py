"""Every recipe of the comparisons fits the same small problem and predicts with it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from experiments._methods import METHODS, FitConfig, computed_in, num_gradients, recipes
from experiments._perceptron import Perceptron, classifier, start
from experiments.report import shown
from experiments.rows import Rows, mean_and_error

CONFIG = FitConfig(
    num_epochs=60,
    batch_size=20,
    learning_rate=1e-2,
    kl_weight=0.1,
    temperature=0.1,
    dropout_rate=0.05,
    num_members=2,
    num_samples=10,
)


@pytest.fixture(scope="module")
def problem():
    """Two clouds that a line tells apart."""
    x = jax.random.normal(jax.random.key(0), (40, 2)) + 2 * jnp.repeat(
        jnp.array([[-1.0], [1.0]]), 20, axis=0
    )
    return x, jnp.repeat(jnp.arange(2), 20)


def fits(x, y):
    net = Perceptron((8,), 2)
    return net, recipes(CONFIG, classifier(net, 1.0), start(net, x), len(x))


def test_methods_are_the_recipes():
    assert tuple(fits(jnp.zeros((40, 2)), jnp.zeros(40, int))[1]) == METHODS


def test_the_net_computes_in_half_precision_and_all_else_does_not(problem):
    x, y = problem
    net, seen = Perceptron((4,), 2), []

    def apply(variables, x):
        seen.extend(leaf.dtype for leaf in jax.tree.leaves((variables, x)))
        return net.apply(variables, x)

    model = replace(classifier(net, 1.0), apply=apply)
    params = start(net, x)(jax.random.key(0))
    half = computed_in("bfloat16", model)
    loss = lambda params: -half.log_joint(params, (x, y))
    value, gradient = jax.value_and_grad(loss)(params)
    assert {str(dtype) for dtype in seen} == {"bfloat16"}
    assert {leaf.dtype for leaf in jax.tree.leaves((value, gradient))} == {jnp.dtype("float32")}
    np.testing.assert_allclose(value, -model.log_joint(params, (x, y)), rtol=0.02)
    assert computed_in("float32", model) is model


@pytest.mark.slow
@pytest.mark.parametrize("name", list(fits(jnp.zeros((40, 2)), jnp.zeros(40, int))[1]))
def test_recipe_learns(problem, name):
    x, y = problem
    net, recipe = fits(x, y)
    posterior = recipe[name]((x, y), jax.random.key(1))
    prediction = jf.predict(net.apply, posterior, x, jax.random.key(2), num_samples=10)
    assert float(jf.metrics.accuracy(prediction.probs, y)) > 0.8


@pytest.mark.parametrize("name", ["MAP", "ensemble", "SWAG", "SGLD", "mean field, local"])
def test_cost_is_counted(problem, name):
    """As often as the net sees an example."""
    x, y = problem
    net, seen = Perceptron((2,), 2), []

    def apply(variables, x, **options):
        jax.debug.callback(lambda x: seen.append(len(x)), x)
        return net.apply(variables, x, **options)

    prior, likelihood = jf.priors.Gaussian(1.0), jf.likelihoods.Categorical()
    model = jf.Model(apply, prior=prior, likelihood=likelihood)
    config = replace(CONFIG, num_epochs=7, batch_size=12, num_samples=3)
    recipe = recipes(config, model, start(net, x), len(x))[name]
    jax.block_until_ready(recipe((x, y), jax.random.key(1)))
    jax.effects_barrier()
    assert sum(seen) / len(x) == pytest.approx(num_gradients(config, name, len(x)))


def test_standard_error_of_known_numbers():
    values = np.array([1.0, 2.0, 3.0, 6.0])
    error = np.sqrt(14 / 3) / 2
    assert mean_and_error(values) == pytest.approx((3.0, error))
    assert mean_and_error(values[:1]) == (1.0, 0.0)
    assert shown(values, 2) == "3.00 ± 1.08" and shown(values[:1]) == 1.0
    rows = Rows()
    for seed, value in enumerate(values):
        rows.add({"nll": value}, method="MAP", seed=seed)
    assert rows.figures() == pytest.approx({"nll": 3.0, "nll_se": error})


def test_a_figure_that_is_alike_in_all_repetitions_has_no_error():
    assert shown(np.array([12, 12, 12])) == 12 and shown(np.array([0.1] * 7)) == 0.1
