"""Whole nets in forward mode and of second order: what linearised Laplace and Gauss-Newton need."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.flatten_util import ravel_pytree

import jfractal as jf
from jfractal.nn import estimators
from jfractal.posterior.gaussian import Estimator, mean_field
from jfractal.posterior.noise import normal_like

KEY = jax.random.key(0)
NORMS = ["batch", "frn", "group", "layer", "none"]
X = np.random.default_rng(0).normal(size=(2, 4, 4, 2))
PLAIN = partial(nn.Conv, conv_general_dilated=lax.conv_general_dilated)


def net_and_weights(norm, conv=jf.nn.Conv):
    """A net of two columns, its outputs as a function of all weights at once, and weights."""
    net = jf.FractalNet(2, columns=2, widths=(2, 2), norm=norm, conv=conv)
    variables = jax.jit(net.init)(KEY, jnp.asarray(X, jnp.float32))
    variables = jax.tree.map(lambda a: a.astype(jnp.float64), variables)
    start, unravel = ravel_pytree(variables["params"])

    def outputs(w):
        both = {**variables, "params": unravel(w)}
        train = "batch_stats" in variables
        return net.apply(both, jnp.asarray(X), train=train, mutable=["batch_stats"])[0]

    return outputs, start


@pytest.mark.parametrize("norm", NORMS)
def test_hessian_and_gauss_newton_products_of_nets(norm):
    """Those of the same net of plain convolutions; the curvature is symmetric."""
    with jax.enable_x64(True):
        ours, w = net_and_weights(norm)
        theirs, _ = net_and_weights(norm, conv=PLAIN)
        directions = jax.random.normal(KEY, (2, len(w)), w.dtype)

        def products(outputs):
            loss = lambda w: (outputs(w) ** 2).sum()
            push = lambda t: jax.jvp(outputs, (w,), (t,))[1]
            pull = jax.vjp(outputs, w)[1]
            hessian = jax.vmap(lambda t: jax.jvp(jax.grad(loss), (w,), (t,))[1])(directions)
            return hessian, jax.vmap(lambda t: pull(push(t))[0])(directions)

        for a, b in zip(jax.jit(partial(products, ours))(), jax.jit(partial(products, theirs))()):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)
            one, other = directions
            np.testing.assert_allclose(a[0] @ other, a[1] @ one, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("norm", NORMS)
def test_a_linearized_net_is_its_tangent(norm):
    """A step ten times shorter has an error a hundred times smaller."""
    with jax.enable_x64(True):
        x = jnp.asarray(X)
        net = jf.FractalNet(2, columns=2, widths=(2,), norm=norm)
        variables = jax.tree.map(lambda a: a.astype(x.dtype), net.init(KEY, x))
        params = variables["params"]
        direction = normal_like(KEY, params)
        tangent = jax.jit(jf.linearize(net.apply, params))

        def error(size):
            moved = jax.tree.map(lambda w, d: w + size * d, params, direction)
            given = {**variables, "params": moved}
            return jnp.abs(tangent(given, x) - net.apply(given, x)).max()

        assert 80 < error(1e-5) / error(1e-6) < 120


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_laplace_of_a_net_is_that_of_plain_convolutions(norm):
    """Gauss-Newton matrices, the evidence, and what the linearised nets predict."""
    x, y = jnp.asarray(X, jnp.float32), jnp.array([0, 1])
    results = []
    for conv in (jf.nn.Conv, PLAIN):
        net = jf.FractalNet(2, columns=2, widths=(2,), norm=norm, conv=conv)
        model = jf.Model.from_linen(
            net, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical()
        )
        q = jf.laplace(model, net.init(KEY, x), (x, y), structure="diagonal")
        p = jf.predict(model, q, x, KEY, num_samples=8)
        results.append((q.variance(), q.log_marginal_likelihood, p.probs))
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("estimator", Estimator.__args__)
@pytest.mark.parametrize("transform", ["hessian", "jacfwd", "jacrev"])
def test_estimators_under_derivatives(estimator, transform):
    """Forward and reverse agree; second derivatives are those of finite differences."""
    with jax.enable_x64(True):
        x = jnp.asarray(X)
        w = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 2, 2)))
        convolve = lambda x, w: jf.ops.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        q = mean_field(w, scale=0.3, estimator=estimator)
        start, unravel = ravel_pytree(q)

        def outputs(flat):
            return jnp.sin(estimators.draw(convolve, x, unravel(flat), KEY))

        loss = lambda flat: outputs(flat).sum()
        if transform == "hessian":
            t, step = jnp.ones_like(start), 1e-5
            product = jax.jit(lambda flat: jax.jvp(jax.grad(loss), (flat,), (t,))[1])(start)
            slope = jax.jit(jax.grad(loss))
            expected = (slope(start + step * t) - slope(start - step * t)) / (2 * step)
            np.testing.assert_allclose(product, expected, rtol=1e-5, atol=1e-5)
        else:
            jacobian = jax.jit(getattr(jax, transform)(outputs))(start)
            t = jnp.ones_like(start)
            expected = jax.jit(lambda f: jax.jvp(outputs, (f,), (t,))[1])(start)
            np.testing.assert_allclose(jacobian @ t, expected, rtol=1e-8, atol=1e-8)
