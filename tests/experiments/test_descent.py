"""The optimiser of the experiments: what a first step of each kind does to a net."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from experiments._descent import ADAM, TrainConfig, optimizer


@pytest.fixture
def weights():
    """A convolution, its norm and a head, which also serve as gradients."""
    keys = jax.random.split(jax.random.key(0), 3)
    return {
        "conv": jax.random.normal(keys[0], (3, 3, 8, 16)),
        "scale": jax.random.normal(keys[1], (16,)),
        "head": jax.random.normal(keys[2], (16, 10)),
    }


def first_step(config, gradients, params):
    descent = optimizer(config, 100)
    return descent.update(gradients, descent.init(params), params)[0]


def test_a_step_of_muon_is_an_orthogonal_matrix(weights):
    """Inputs of all pixels of the window against outputs: all singular values are about equal."""
    config = TrainConfig(optimizer="muon", learning_rate=1.0, weight_decay=0.0)
    step = first_step(config, weights, jax.tree.map(jnp.zeros_like, weights))
    singular = np.linalg.svd(np.asarray(step["conv"]).reshape(72, 16), compute_uv=False)
    peak = 0.1  # the schedule starts at a tenth
    assert np.all((0.6 * peak < singular) & (singular < 1.3 * peak))


def test_muon_leaves_norms_and_head_to_adam(weights):
    """A first step of Nesterov's Adam has one size, whatever the gradient."""
    config = TrainConfig(optimizer="muon", learning_rate=1.0, weight_decay=0.0)
    step = first_step(config, weights, jax.tree.map(jnp.zeros_like, weights))
    adam = optax.nadam(0.1 * ADAM)
    for name in ("scale", "head"):
        expected, _ = adam.update(weights[name], adam.init(weights[name]))
        np.testing.assert_allclose(step[name], expected, rtol=1e-4)


def test_decay_with_muon_is_of_the_convolutions_alone(weights):
    nothing = jax.tree.map(jnp.zeros_like, weights)
    config = TrainConfig(optimizer="muon", learning_rate=1.0, weight_decay=0.5)
    step = first_step(config, nothing, weights)
    np.testing.assert_allclose(step["conv"], -0.1 * 0.5 * weights["conv"], rtol=1e-5)
    assert not np.any(step["scale"])
    assert not np.any(step["head"])


def test_decay_with_sgd_is_a_penalty_of_all_kernels(weights):
    nothing = jax.tree.map(jnp.zeros_like, weights)
    config = TrainConfig(momentum=0.0, learning_rate=1.0, weight_decay=0.5)
    step = first_step(config, nothing, weights)
    for name in ("conv", "head"):
        np.testing.assert_allclose(step[name], -0.1 * 0.5 * weights[name], rtol=1e-5)
    assert not np.any(step["scale"])


def test_standard_deviations_go_by_adam_at_a_rate_of_their_own(weights):
    """Muon would make an orthogonal matrix of them, too."""
    config = TrainConfig(optimizer="muon", learning_rate=1.0, weight_decay=0.5)
    params = {"conv": jf.Gaussian(0 * weights["conv"], weights["conv"])}
    gradients = {"conv": jf.Gaussian(weights["conv"], weights["conv"])}
    descent = optimizer(config, 100, std_rate=3.0)
    step = descent.update(gradients, descent.init(params), params)[0]["conv"]
    adam = optax.nadam(3.0 * 0.1 * ADAM)
    expected, _ = adam.update(weights["conv"], adam.init(weights["conv"]))
    np.testing.assert_allclose(step.rho, expected, rtol=1e-4)
    alone = first_step(config, weights, jax.tree.map(jnp.zeros_like, weights))
    np.testing.assert_allclose(step.mean, alone["conv"], rtol=1e-4, atol=1e-6)
