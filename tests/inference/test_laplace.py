import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf

OPTIONS = {"optimizer": optax.sgd(0.1), "num_steps": 500}


def only_bias(path, leaf):
    return path == "bias"


@pytest.mark.parametrize("method", [jf.laplace, jf.diagonal_laplace])
def test_leaves_that_are_not_chosen_stay_at_the_maximum(problem, method):
    """The chosen one has the variance given the others, 1 / precision."""
    q = method(problem.log_joint, problem.init, jax.random.key(0), where=only_bias, **OPTIONS)
    keys = jax.random.split(jax.random.key(1), 10_000)
    draws = jax.jit(jax.vmap(q.sample))(keys)["params"]
    assert np.ptp(draws["kernel"], axis=0).max() == 0
    np.testing.assert_allclose(draws["kernel"][0, :, 0], problem.mean[1:], atol=1e-5)
    variance = 1 / problem.precision[0, 0]
    assert abs(draws["bias"].var() - variance) < 4 * variance * np.sqrt(2 / len(keys))


def test_what_data_say_nothing_of_keeps_the_width_of_the_prior():
    """Two inputs that are one, nearly without noise: in float32 the precision is singular."""
    x = jnp.repeat(jax.random.normal(jax.random.key(0), (500, 1)), 2, axis=1)
    net = nn.Dense(1, use_bias=False)
    log_joint = jf.LogJoint(
        net.apply, (x, x[:, :1]), jf.priors.Gaussian(1.0), jf.likelihoods.Gaussian(1e-4)
    )
    init = lambda key: {"kernel": jnp.full((2, 1), 0.5)}
    q = jf.laplace(log_joint, init, jax.random.key(0), optimizer=optax.sgd(0.0), num_steps=1)
    w = jax.vmap(q.sample)(jax.random.split(jax.random.key(1), 10_000))["params"]["kernel"][..., 0]
    total, difference = w.sum(-1), w[:, 0] - w[:, 1]
    assert total.std() < 1e-4
    assert abs(difference.var() / 2 - 1) < 4 * np.sqrt(2 / len(w))


@pytest.mark.parametrize("method", [jf.laplace, jf.diagonal_laplace])
def test_bad_input(problem, method):
    start = problem.log_joint, problem.init, jax.random.key(0)
    with pytest.raises(jf.InputError, match=r"where.*\['bias', 'kernel'\]"):
        method(*start, where=lambda path, leaf: path == "head", **OPTIONS)
    with pytest.raises(jf.InputError, match="num_steps"):
        method(*start, optimizer=optax.sgd(0.1), num_steps=0)


@pytest.mark.parametrize("method", [jf.laplace, jf.diagonal_laplace])
def test_a_log_joint_without_curvature_is_refused(problem, method):
    """A horseshoe is not log-concave: near its pole the density is curved upwards."""
    flat_data = problem.x * 0, problem.y * 0
    likelihood = jf.likelihoods.Gaussian(1.0)
    log_joint = jf.LogJoint(
        problem.log_joint.apply, flat_data, jf.priors.HorseshoeLike(), likelihood
    )
    with pytest.raises(jf.InputError, match="curved downwards in every direction"):
        method(log_joint, problem.init, jax.random.key(0), optimizer=optax.sgd(0.0), num_steps=1)
