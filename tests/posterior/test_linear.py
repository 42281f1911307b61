import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jfractal as jf


@pytest.fixture(scope="module")
def problem():
    """A net of tanh, and independent Gaussians over its weights."""
    x = jax.random.normal(jax.random.key(0), (20, 2))
    net = nn.Sequential([nn.Dense(3), nn.tanh, nn.Dense(1)])
    params = net.init(jax.random.key(1), x)["params"]
    return net, jf.MeanField(jf.mean_field(params, scale=0.3)), x


def test_it_is_the_tangent(problem):
    """The error of a step is of second order: ten times shorter, a hundred times smaller."""
    net, q, x = problem
    tangent = jf.linearize(net.apply, q.mean())
    centre = {"params": q.mean()}
    direction = jax.tree.map(jnp.ones_like, q.mean())
    np.testing.assert_array_equal(tangent(centre, x), net.apply(centre, x))

    def error(size):
        moved = {"params": jax.tree.map(lambda w, d: w + size * d, q.mean(), direction)}
        return jnp.abs(tangent(moved, x) - net.apply(moved, x)).max()

    assert 80 < error(1e-1) / error(1e-2) < 120


def test_moments_of_the_prediction_are_in_closed_form(problem):
    """Mean f(ŵ, x) and variance J Σ Jᵀ, within 4 standard errors of 20,000 draws."""
    net, q, x = problem
    flat, unravel = ravel_pytree(q.mean())
    jacobian = jax.jacobian(lambda w: net.apply({"params": unravel(w)}, x)[:, 0])(flat)
    variance = jnp.square(jacobian) @ ravel_pytree(q.variance())[0]
    tangent = jf.linearize(net.apply, q.mean())
    draws = jf.sample_outputs(tangent, q, x, jax.random.key(2), num_samples=20_000)[..., 0]
    mean = net.apply({"params": q.mean()}, x)[:, 0]
    assert (jnp.abs(draws.mean(0) - mean) < 4 * jnp.sqrt(variance / len(draws))).all()
    assert (jnp.abs(draws.var(0) / variance - 1) < 4 * np.sqrt(2 / len(draws))).all()


def test_the_other_leaves_stay_those_of_the_net(problem):
    """The head is linear: whatever stands below, the tangent in it is the net."""
    net, q, x = problem
    tangent = jf.linearize(net.apply, q.mean(), lambda path, leaf: path.startswith("layers_2/"))
    draw = q.sample(jax.random.key(4))
    np.testing.assert_allclose(tangent(draw, x), net.apply(draw, x), atol=1e-5)


def of_a_point(params):
    """No spread: then the tangent at these weights is the net."""
    return jf.Laplace(jf.Point({"params": params}), jnp.zeros(()), ("layers_0/kernel",))


def test_members_of_a_mixture_are_linear_around_their_own_weights(problem):
    net, q, x = problem
    params = q.mean(), jax.tree.map(lambda w: w + 1, q.mean())
    both = jf.Ensemble(jax.tree.map(lambda *w: jnp.stack(w), *map(of_a_point, params)))
    outputs = jf.sample_outputs(net.apply, both, x, jax.random.key(3), num_samples=2)
    exact = jnp.stack([net.apply({"params": w}, x) for w in params])
    np.testing.assert_allclose(outputs, exact, atol=1e-5)


def test_bad_input(problem):
    net, q, _ = problem
    with pytest.raises(jf.InputError, match=r"`params` of `linearize`.*posterior.mean\(\)"):
        jf.linearize(net.apply, q)
    with pytest.raises(jf.InputError, match="`where` must pick at least one"):
        jf.linearize(net.apply, q.mean(), lambda path, leaf: False)
