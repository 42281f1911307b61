"""The log joint in chunks: the same number and gradient, in less memory."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal import ops
from jfractal.inference.mcmc.parts import Parts
from jfractal.inference.mcmc.target import Target, chunk_size
from jfractal.posterior.gaussian import everywhere

KEY = jax.random.key(4)
NET = nn.Sequential([nn.Dense(16), nn.tanh, nn.Dense(3)])
X = jax.random.normal(KEY, (101, 5))
Y = jnp.arange(101) % 3
MODEL = jf.Model(NET.apply, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical())
VARIABLES = NET.init(KEY, X)


def target(chunk, where=everywhere, temperature=1.0):
    """It, and its arguments."""
    parts = Parts.of(VARIABLES, where)
    return Target(MODEL, parts, temperature, chunk), (*parts.split(VARIABLES), (X, Y))


@pytest.mark.parametrize("chunk", [1, 7, 51, 100, 101, 500])
def test_chunks_add_up_to_the_log_joint_and_its_gradient(chunk):
    """Also where the last chunk is not full."""
    of_chunks, arguments = target(chunk)
    value, slope = jax.jit(jax.value_and_grad(of_chunks.log_joint))(*arguments)
    expected = jax.value_and_grad(MODEL.log_joint)(VARIABLES["params"], (X, Y))
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    for ours, theirs in zip(slope, jax.tree.leaves(expected[1]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [20, 101])
def test_the_gradient_is_in_what_moves_only(chunk):
    of_part, (moving, still, data) = target(chunk, lambda path, _: path == "layers_2/bias", 2.0)
    assert [w.shape for w in moving] == [(3,)]
    slope = jax.grad(of_part.log_joint)(moving, still, data)
    whole = jax.grad(MODEL.log_joint)(VARIABLES["params"], data)
    np.testing.assert_allclose(slope[0], whole["layers_2"]["bias"] / 2, rtol=1e-5)


def test_trees_of_inputs_and_targets_are_cut_along_their_examples():
    model = jf.Model(
        lambda variables, x: NET.apply(variables, x["a"]) + x["b"],
        prior=jf.priors.Gaussian(1.0),
        likelihood=jf.likelihoods.Categorical(),
    )
    parts = Parts.of(VARIABLES, everywhere)
    data = {"a": X, "b": X[:, :3]}, Y
    one, many = (Target(model, parts, 1.0, n).log_joint for n in (101, 13))
    arguments = *parts.split(VARIABLES), data
    np.testing.assert_allclose(one(*arguments), many(*arguments), rtol=1e-5)


def test_chunks_fit_into_the_budget(monkeypatch):
    of_all, (moving, still, data) = target(101)
    moving = [jnp.stack([w] * 4) for w in moving]
    assert chunk_size(of_all, moving, still, data) == 101  # small problems stay whole
    slope = jax.vmap(jax.value_and_grad(of_all.of_chunk), in_axes=(0, 0, None, None))

    def cost(size):
        return ops.live_bytes(slope, moving, still, (X[:size], Y[:size]), jnp.ones(size, bool))

    for most in (10, 40):
        monkeypatch.setattr(ops.memory, "memory_budget", lambda most=most: cost(most))
        size = chunk_size(of_all, moving, still, data)
        assert cost(size) <= cost(most) + cost(1) and size > most * 0.7


def test_memory_does_not_grow_with_the_data():
    def temporary(num_data):
        x, y = jnp.zeros((num_data, 784)), jnp.zeros(num_data, int)
        variables = NET.init(KEY, x[:1])
        parts = Parts.of(variables, everywhere)
        log_joint = Target(MODEL, parts, 1.0, 100).log_joint
        program = jax.jit(jax.value_and_grad(log_joint)).lower(*parts.split(variables), (x, y))
        return program.compile().memory_analysis().temp_size_in_bytes

    assert temporary(20_000) < 1.1 * temporary(1000)
