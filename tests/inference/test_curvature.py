import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jfractal as jf
from jfractal.inference import curvature
from jfractal.posterior.gaussian import everywhere
from jfractal.posterior.kronecker_gaussian import as_matrix
from jfractal.posterior.leaves import replace, select


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="head")(nn.tanh(nn.Dense(4, name="body")(x)))


class ConvNet(nn.Module):
    """Every weight of the convolution counts at many places."""

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Conv(3, (2, 2), name="conv")(x))
        return nn.Dense(2, name="head")(x.reshape(len(x), -1))


def in_head(path, leaf):
    return path.startswith("head/")


def problem(net, shape, classes, prior):
    """A classifier, whose log likelihood is not quadratic, and some weights."""
    key_x, key_y, key_init = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(key_x, (11, *shape))
    y = jax.random.randint(key_y, (11,), 0, classes)
    model = jf.Model(net.apply, prior=prior, likelihood=jf.likelihoods.Categorical())
    return model, net.init(key_init, x)["params"], (x, y)


@pytest.fixture(scope="module")
def dense():
    return problem(Net(), (2,), 3, jf.priors.StudentT(df=3.0))


@pytest.fixture(scope="module")
def convolution():
    return problem(ConvNet(), (3, 4, 2), 2, jf.priors.Gaussian(1.0))


def gauss_newton(problem, where, contract, **options):
    model, params, data = problem
    chosen = select(params, where)
    total = curvature.gauss_newton(model, {"params": params}, chosen, data, contract, **options)
    return total.parts


def hessian(function, params, where):
    """Of a function of the tree, by brute force over the chosen leaves."""
    start, unravel = ravel_pytree(select(params, where))
    return jax.hessian(lambda w: function(replace(params, unravel(w))))(start)


def test_gauss_newton_is_the_hessian_of_a_layer_that_is_linear(dense):
    model, params, data = dense

    def loss(params):
        return -model.log_likelihood({"params": params}, data).sum()

    ours = gauss_newton(dense, in_head, curvature.full)
    np.testing.assert_allclose(ours, hessian(loss, params, in_head), atol=1e-5)


def test_gauss_newton_of_logits_is_by_hand(dense):
    """Σ_n Jᵀ (diag(p) − p pᵀ) J, over all leaves, as laplace-torch has it."""
    model, params, data = dense
    flat, unravel = ravel_pytree(select(params, everywhere))

    def logits(w):
        return model.apply({"params": replace(params, unravel(w))}, data[0])

    j = np.asarray(jax.jacobian(logits)(flat))
    p = np.asarray(jax.nn.softmax(logits(flat)))
    h = np.stack([np.diag(row) - np.outer(row, row) for row in p])
    exact = np.einsum("noi,nop,npj->ij", j, h, j)
    ours = gauss_newton(dense, everywhere, curvature.full)
    np.testing.assert_allclose(ours, exact, atol=1e-5)
    diagonal, _ = ravel_pytree(gauss_newton(dense, everywhere, curvature.diagonal))
    np.testing.assert_allclose(diagonal, np.diag(exact), atol=1e-5)


@pytest.mark.parametrize("name", ["dense", "convolution"])
def test_kronecker_factors_are_the_partial_traces_of_the_matrix(name, request):
    """Of every leaf: kernels of dense layers and of convolutions, and biases."""
    case = request.getfixturevalue(name)
    for path, (a, b) in gauss_newton(case, everywhere, curvature.kronecker).items():
        block = gauss_newton(case, lambda other, _, path=path: other == path, curvature.full)
        rows, columns = as_matrix(select(case[1], everywhere)[path]).shape
        block = np.asarray(block).reshape(rows, columns, rows, columns)
        np.testing.assert_allclose(a, np.einsum("ifkf->ik", block), atol=1e-5)
        np.testing.assert_allclose(b, np.einsum("ifig->fg", block), atol=1e-5)


@pytest.mark.parametrize("contract", [curvature.full, curvature.kronecker])
def test_batches_do_not_matter(dense, contract):
    """Nor who makes them: a generator of lists of NumPy arrays, of unequal sizes, say."""
    model, params, (x, y) = dense
    whole = gauss_newton(dense, in_head, contract)

    def close(parts):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), parts, whole
        )

    for batch_size in (1, 4, 11, 100):
        close(gauss_newton(dense, in_head, contract, batch_size=batch_size))
    batches = ([np.asarray(x[i : i + 7]), np.asarray(y[i : i + 7])] for i in (0, 7))
    close(gauss_newton((model, params, batches), in_head, contract, batch_size=3))


def test_inputs_and_targets_are_trees(dense):
    model, params, (x, y) = dense
    apply = lambda variables, x: {"logits": model.apply(variables, x["a"]) + 0 * x["b"].sum()}

    class Named(jf.likelihoods.Categorical):
        def log_likelihood(self, outputs, targets):
            return super().log_likelihood(outputs["logits"], targets["label"])

    trees = jf.Model(apply, prior=model.prior, likelihood=Named())
    case = trees, params, ({"a": x, "b": x[:, :1]}, {"label": y})
    ours = gauss_newton(case, in_head, curvature.full)
    np.testing.assert_allclose(ours, gauss_newton(dense, in_head, curvature.full), atol=1e-6)


def test_what_a_half_precision_net_curves_is_summed_in_single():
    net = nn.Dense(2, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    case = problem(net, (2,), 2, jf.priors.Gaussian(1.0))
    ours = gauss_newton(case, everywhere, curvature.full)
    assert ours.dtype == jnp.float32 and jnp.isfinite(ours).all()


def test_priors_curve_as_their_density_does(dense):
    """Student's t: ``−∂² log p = (df + 1)(df − w²) / (df + w²)²``."""
    model, params, _ = dense
    chosen = select(params, in_head)
    w, _ = ravel_pytree(chosen)
    exact = 4 * (3 - w**2) / (3 + w**2) ** 2
    diagonal, _ = ravel_pytree(curvature.prior_precision(model.prior, chosen))
    np.testing.assert_allclose(diagonal, exact, atol=1e-5)
    np.testing.assert_allclose(
        curvature.prior_hessian(model.prior, chosen), jnp.diag(exact), atol=1e-5
    )


def test_a_prior_of_dependent_weights_has_no_diagonal(dense):
    _, params, _ = dense
    chosen = select(params, in_head)
    prior = jf.priors.HierarchicalScale(1.0, 1.0)
    with pytest.raises(jf.InputError, match="independent over the weights of 'head/bias'"):
        curvature.prior_precision(prior, chosen)
    ours = curvature.prior_hessian(prior, chosen)
    exact = hessian(lambda params: -prior.tree_log_prob(params), params, in_head)
    np.testing.assert_allclose(ours, exact, atol=1e-5)
