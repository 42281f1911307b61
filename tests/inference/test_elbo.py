from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import jfractal as jf

PRIOR, LIKELIHOOD = jf.priors.Gaussian(0.7), jf.likelihoods.Gaussian(0.5)


@pytest.fixture(scope="module")
def problem():
    key = jax.random.key(0)
    x = jax.random.normal(key, (12, 3))
    y = jnp.sin(x[:, :1])
    net = nn.Sequential([nn.Dense(4), nn.tanh, nn.Dense(1)])
    q = jf.mean_field(jax.jit(net.init)(key, x)["params"], scale=0.2)
    return net, q, x, y


def model_of(net, prior=PRIOR, likelihood=LIKELIHOOD):
    return jf.Model(net.apply, prior=prior, likelihood=likelihood)


def bound(net, q, batch, key, *, prior=PRIOR, likelihood=LIKELIHOOD, **options):
    options = {"num_data": 12} | options
    return jf.elbo(model_of(net, prior, likelihood), q, batch, key, **options)


def test_value_is_composed_of_its_parts(problem):
    net, q, x, y = problem
    result = bound(net, q, (x, y), jax.random.key(1), kl_weight=0.3)
    np.testing.assert_allclose(result.kl, jf.kl(q, PRIOR), rtol=1e-6)
    np.testing.assert_allclose(result.value, -result.nll - 0.3 * result.kl / 12, rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 6])
def test_does_not_depend_on_the_batch_size(problem, batch_size):
    """With the same draw of the weights, the mean over the batches is the full-batch value."""
    net, q, x, y = problem
    key = jax.random.key(2)
    full = bound(net, q, (x, y), key)
    parts = [
        bound(net, q, (x[i : i + batch_size], y[i : i + batch_size]), key)
        for i in range(0, 12, batch_size)
    ]
    np.testing.assert_allclose(np.mean([p.value for p in parts]), full.value, rtol=1e-5)
    assert all(np.isclose(p.kl, full.kl) for p in parts)  # the whole KL in nats, in every batch


def test_is_the_log_evidence_where_q_is_the_posterior():
    """One weight, y = w·x: at the exact posterior the bound is tight, whatever the draw's mean."""
    x = jnp.array([[0.5], [-1.0], [2.0]])
    y = jnp.array([[0.2], [-0.4], [1.5]])
    net = nn.Dense(1, use_bias=False)
    precision = float((x**2).sum()) / 0.25 + 1 / 0.49
    mean = float((x * y).sum()) / 0.25 / precision
    q = {"kernel": jf.Gaussian(jnp.full((1, 1), mean), inverse(precision**-0.5))}
    keys = jax.random.split(jax.random.key(0), 20000)
    value = lambda k: bound(net, q, (x, y), k, num_data=3).value
    values = jax.jit(jax.vmap(value))(keys)
    covariance = 0.25 * np.eye(3) + 0.49 * np.asarray(x @ x.T)
    sign, logdet = np.linalg.slogdet(2 * np.pi * covariance)
    evidence = -0.5 * (y[:, 0] @ np.linalg.solve(covariance, y[:, 0]) + sign * logdet) / 3
    assert abs(values.mean() - evidence) < 4 * values.std() / np.sqrt(len(values))


def inverse(std):
    return jnp.log(jnp.expm1(jnp.full((1, 1), std)))


def test_gradient_is_unbiased():
    """Gradient of E[log N(y; w x, s²)] in closed form, for one weight."""
    x, y, mean, std = 1.3, 0.4, 0.2, 0.6
    net = nn.Dense(1, use_bias=False)
    q = {"kernel": jf.Gaussian(jnp.full((1, 1), mean), inverse(std))}
    batch = jnp.array([[x]]), jnp.array([[y]])
    flat = jf.priors.Gaussian(1e6)

    def nll(q, key):
        return bound(net, q, batch, key, prior=flat, num_data=1).nll

    keys = jax.random.split(jax.random.key(5), 40000)
    gradient = jax.jit(jax.vmap(jax.grad(nll), (None, 0)))(q, keys)["kernel"]
    to_rho = jax.nn.sigmoid(inverse(std))[0, 0]
    exact = {"mean": -(y - mean * x) * x / 0.25, "rho": std * x**2 / 0.25 * to_rho}
    for name, value in exact.items():
        draws = getattr(gradient, name).ravel()
        assert abs(draws.mean() - value) < 4 * draws.std() / np.sqrt(len(draws)), name


def test_more_samples_average_the_likelihood(problem):
    net, q, x, y = problem

    def nll(keys, num_samples):
        draw = lambda k: bound(net, q, (x, y), k, num_samples=num_samples).nll
        return jax.jit(jax.vmap(draw))(keys)

    many = nll(jax.random.split(jax.random.key(7), 20), num_samples=16)
    one = nll(jax.random.split(jax.random.key(8), 60), num_samples=1)
    assert abs(many.mean() - one.mean()) < 4 * (one.std() / 60**0.5 + many.std() / 20**0.5)
    assert many.std() < 0.6 * one.std()


@pytest.mark.parametrize("estimator", ["local_reparam", "flipout"])
def test_layers_draw_what_is_left_to_them(estimator):
    """The mean NLL under an in-layer estimator is that of drawing the weights."""
    x = jax.random.normal(jax.random.key(0), (5, 3))
    y = jnp.ones((5, 1))
    net = jf.BayesDense(1, estimator=estimator, scale=0.5)
    q = net.init(jax.random.key(1), x)["params"]
    outside = jf.mean_field(jf.mean(q), scale=0.5)
    keys = jax.random.split(jax.random.key(2), 4000)

    @jax.jit
    @partial(jax.vmap, in_axes=(None, 0))
    def nll(q, key):
        return bound(net, q, (x, y), key).nll

    inside, drawn = nll(q, keys), nll(outside, keys)
    error = np.hypot(inside.std(), drawn.std()) / np.sqrt(len(keys))
    assert abs(inside.mean() - drawn.mean()) < 4 * error


def test_scale_mixture_needs_no_other_call(problem):
    net, q, x, y = problem
    result = bound(net, q, (x, y), jax.random.key(0), prior=jf.priors.ScaleMixture(0.5, 1.0, 0.1))
    assert jnp.isfinite(result.value)


def test_vmap_over_seeds_counts_the_kl_once(problem):
    net, q, x, y = problem
    kl = lambda k: bound(net, q, (x, y), k).kl
    values = jax.jit(jax.vmap(kl))(jax.random.split(jax.random.key(0), 3))
    np.testing.assert_allclose(values, jf.kl(q, PRIOR), rtol=1e-6)


def test_does_not_depend_on_the_number_of_devices(problem):
    """The bound and its gradient, averaged over two halves of the batch, are those of the whole."""
    net, q, x, y = problem
    key = jax.random.key(3)

    def value_and_gradient(q, batch):
        return jax.value_and_grad(lambda q: bound(net, q, batch, key).value)(q)

    @partial(
        jax.shard_map,
        mesh=Mesh(jax.devices()[:2], ("device",)),
        in_specs=(P(), P("device")),
        out_specs=P(),
        check_vma=False,  # else `grad` would sum over devices by itself
    )
    def shared(q, batch):
        return jax.lax.pmean(value_and_gradient(q, batch), "device")

    alone, together = (jax.jit(f)(q, (x, y)) for f in (value_and_gradient, shared))
    chex.assert_trees_all_close(together, alone, rtol=1e-4, atol=1e-6)


BAD_NAN = (jnp.full((4, 3), jnp.nan), jnp.zeros((4, 1)))


@pytest.mark.parametrize(
    ("batch", "options", "message"),
    [
        (None, {"num_data": 0}, "`num_data` must be at least 12, the size of the batch"),
        (None, {"num_data": 11}, "`num_data` must be at least 12, .* got 11"),
        (None, {"num_data": 12.5}, "`num_data` must be an integer, got 12.5"),
        (None, {"num_samples": 0}, "`num_samples` must be at least 1, got 0"),
        (None, {"num_samples": 1.5}, "`num_samples` must be an integer, got 1.5"),
        (None, {"kl_weight": -1.0}, "`kl_weight` must be at least 0 and finite, got -1.0"),
        (BAD_NAN, {}, "the inputs must be finite numbers, got a NaN"),
        (BAD_NAN[::-1], {}, "the targets must be finite numbers, got a NaN"),
        ((jnp.zeros((4, 3)), jnp.zeros((5, 1))), {}, "the same number of examples"),
        ((jnp.zeros((0, 3)), jnp.zeros((0, 1))), {}, "the same number of examples, at least 1"),
    ],
)
def test_bad_input(problem, batch, options, message):
    net, q, x, y = problem
    with pytest.raises(jf.InputError, match=message):
        bound(net, q, batch or (x, y), jax.random.key(0), **options)


def test_all_of_the_data_is_the_batch_if_nothing_else_is_said(problem):
    net, q, x, y = problem
    key = jax.random.key(1)
    assert bound(net, q, (x, y), key, num_data=None).value == bound(net, q, (x, y), key).value


def test_labels_out_of_range_are_seen(problem):
    net, q, x, _ = problem
    with pytest.raises(jf.InputError, match=r"labels in \[0, 1\)"):
        labels = jnp.ones(12, int)
        bound(net, q, (x, labels), jax.random.key(0), likelihood=jf.likelihoods.Categorical())


def test_a_mean_in_place_of_a_log_likelihood_is_seen(problem):
    class MeanSquaredError(jf.likelihoods.Likelihood):
        def log_likelihood(self, outputs, targets):
            return -((outputs - targets) ** 2).mean()

    net, q, x, y = problem
    with pytest.raises(jf.InputError, match=r"one number per example, not their mean"):
        bound(net, q, (x, y), jax.random.key(0), likelihood=MeanSquaredError())
    with pytest.raises(jf.InputError, match=r"one number per example, not their mean"):
        model_of(net, likelihood=MeanSquaredError()).log_joint(jf.mean(q), (x, y))


@pytest.mark.parametrize("wrong", [lambda outputs, y: -((outputs - y) ** 2), type(LIKELIHOOD)])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("likelihood", r"`likelihood` must be a Likelihood such as `Categorical\(\)`, got <"),
        ("prior", "`prior` must be a Prior or a .*, got <"),
    ],
)
def test_a_function_or_a_class_is_no_likelihood_and_no_prior(problem, wrong, name, message):
    with pytest.raises(jf.InputError, match=message):
        model_of(problem[0], **{name: wrong})


@pytest.mark.parametrize("wrong", [lambda net: net, lambda net: net.apply])
def test_a_net_is_no_model(problem, wrong):
    net, q, x, y = problem
    with pytest.raises(jf.InputError, match=r"`model` must be a `jf\.Model"):
        jf.elbo(wrong(net), q, (x, y), jax.random.key(0))


def test_log_likelihood_is_in_nats():
    np.testing.assert_allclose(
        LIKELIHOOD.log_likelihood(jnp.zeros((1, 1)), jnp.ones((1, 1))), norm.logpdf(1.0, 0.0, 0.5)
    )
