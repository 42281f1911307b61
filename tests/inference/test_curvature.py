import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jfractal as jf
from jfractal.inference import curvature
from jfractal.posterior.gaussian import everywhere
from jfractal.posterior.leaves import select


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="head")(nn.tanh(nn.Dense(4, name="body")(x)))


def in_head(path, leaf):
    return path.startswith("head/")


@pytest.fixture(scope="module")
def model():
    """A classifier, whose log likelihood is not quadratic, and some weights."""
    key_x, key_y, key_init = jax.random.split(jax.random.key(0), 3)
    x, y = jax.random.normal(key_x, (11, 2)), jax.random.randint(key_y, (11,), 0, 3)
    net = Net()
    log_joint = jf.LogJoint(
        net.apply, (x, y), jf.priors.StudentT(df=3.0), jf.likelihoods.Categorical()
    )
    return log_joint, net.init(key_init, x)["params"]


def hessian(function, params, where):
    """Of a function of the tree, by brute force over the chosen leaves."""
    start, unravel = ravel_pytree(select(params, where))
    return jax.hessian(lambda w: function(jf.posterior.leaves.replace(params, unravel(w))))(start)


def test_gauss_newton_is_the_hessian_of_a_layer_that_is_linear(model):
    log_joint, params = model

    def loss(params):
        return -log_joint.log_likelihood(params, log_joint.data).sum()

    ours = curvature.gauss_newton(log_joint, params, in_head)
    np.testing.assert_allclose(ours, hessian(loss, params, in_head), atol=1e-5)


def test_gauss_newton_of_logits_is_by_hand(model):
    """Σ_n Jᵀ (diag(p) − p pᵀ) J, over all leaves."""
    log_joint, params = model
    x, _ = log_joint.data
    flat, unravel = ravel_pytree(select(params, everywhere))

    def logits(w):
        return log_joint.apply({"params": jf.posterior.leaves.replace(params, unravel(w))}, x)

    j = np.asarray(jax.jacobian(logits)(flat))
    p = np.asarray(jax.nn.softmax(logits(flat)))
    h = np.stack([np.diag(row) - np.outer(row, row) for row in p])
    exact = np.einsum("noi,nop,npj->ij", j, h, j)
    ours = curvature.gauss_newton(log_joint, params, everywhere)
    np.testing.assert_allclose(ours, exact, atol=1e-5)
    diagonal = curvature.gauss_newton_diagonal(log_joint, params, everywhere)
    np.testing.assert_allclose(diagonal, np.diag(exact), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 11])
def test_batches_do_not_matter(model, batch_size):
    log_joint, params = model
    whole = curvature.gauss_newton(log_joint, params, in_head)
    parts = curvature.gauss_newton(log_joint, params, in_head, batch_size=batch_size)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_priors_curve_as_their_density_does(model):
    """Student's t: ``−∂² log p = (df + 1)(df − w²) / (df + w²)²``."""
    log_joint, params = model
    w, _ = ravel_pytree(select(params, in_head))
    exact = 4 * (3 - w**2) / (3 + w**2) ** 2
    np.testing.assert_allclose(
        curvature.prior_precision(log_joint, params, in_head), exact, atol=1e-5
    )
    np.testing.assert_allclose(
        curvature.prior_hessian(log_joint, params, in_head), jnp.diag(exact), atol=1e-5
    )


def test_a_prior_of_dependent_weights_has_no_diagonal(model):
    log_joint, params = model
    prior = jf.priors.HierarchicalScale(1.0, 1.0)
    dependent = jf.LogJoint(log_joint.apply, log_joint.data, prior, log_joint.likelihood)
    with pytest.raises(jf.InputError, match="independent over the weights of 'head/bias'"):
        curvature.prior_precision(dependent, params, in_head)
    ours = curvature.prior_hessian(dependent, params, in_head)
    exact = hessian(lambda params: -prior.tree_log_prob(params), params, in_head)
    np.testing.assert_allclose(ours, exact, atol=1e-5)
