"""Every recipe of the comparisons fits the same small problem and predicts with it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments._seeds import mean_and_error, mean_curve, shown, standard_error, with_errors

import jfractal as jf
from experiments._methods import FitConfig, num_gradients, recipes
from experiments._perceptron import Perceptron

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
    log_joint = jf.LogJoint(
        net.apply, (x, y), jf.priors.Gaussian(1.0), jf.likelihoods.Categorical()
    )
    return net, recipes(CONFIG, log_joint, lambda key: jf.mean(net.init(key, x)["params"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(fits(jnp.zeros((40, 2)), jnp.zeros(40, int))[1]))
def test_recipe_learns(problem, name):
    x, y = problem
    net, recipe = fits(x, y)
    posterior = recipe[name](jax.random.key(1))
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

    log_joint = jf.LogJoint(apply, (x, y), jf.priors.Gaussian(1.0), jf.likelihoods.Categorical())
    config = replace(CONFIG, num_epochs=7, batch_size=12, num_samples=3)
    recipe = recipes(config, log_joint, lambda key: jf.mean(net.init(key, x)["params"]))[name]
    jax.block_until_ready(recipe(jax.random.key(1)))
    jax.effects_barrier()
    assert sum(seen) / len(x) == pytest.approx(num_gradients(config, name, len(x)))


def test_standard_error_of_known_numbers():
    values = np.array([1.0, 2.0, 3.0, 6.0])
    assert standard_error(values) == pytest.approx(np.sqrt(14 / 3) / 2)
    assert mean_and_error(values[:1]) == (1.0, 0.0)
    assert shown(values, 2) == "3.00 ± 1.08"
    assert shown(values[:1]) == "1.000" and with_errors({"nll": values[:1]}) == {"nll": 1.0}
    assert with_errors({"nll": values}) == {"nll": 3.0, "nll_se": standard_error(values)}


def test_a_curve_of_seeds_has_the_figures_of_each_position():
    values = np.array([[1.0, 0.0], [3.0, 0.0]])  # two seeds at two positions
    assert mean_curve((10, 20), values) == ([10, 20], [2.0, 0.0], [1.0, 0.0])
