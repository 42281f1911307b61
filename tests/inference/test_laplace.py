import itertools
import pickle
from dataclasses import replace

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf

STRUCTURES = ["full", "diagonal", "kronecker"]


def only_bias(path, leaf):
    return path == "bias"


def model_of(problem, prior=None):
    prior = jf.priors.Gaussian(problem.prior_scale) if prior is None else prior
    likelihood = jf.likelihoods.Gaussian(problem.noise_scale)
    return jf.Model(problem.net.apply, prior=prior, likelihood=likelihood)


def at_the_mode(problem):
    """Weights that somebody else trained."""
    w = jnp.asarray(problem.mean, jnp.float32)
    return {"bias": w[:1], "kernel": w[1:, None]}


def fit(problem, **options):
    return jf.laplace(model_of(problem), at_the_mode(problem), (problem.x, problem.y), **options)


def drawn(q, num_draws=20_000):
    """Draws of the weights, "draws weights", in float64."""
    draws = jax.jit(jax.vmap(q.sample))(jax.random.split(jax.random.key(1), num_draws))["params"]
    flat = [np.asarray(w, np.float64).reshape(num_draws, -1) for w in jax.tree.leaves(draws)]
    return np.concatenate(flat, axis=1)


def assert_covariance(draws, exact, slack=0.0):
    """Within 4 standard errors."""
    s = np.diag(exact)
    error = np.sqrt((np.outer(s, s) + exact**2) / len(draws))
    assert np.all(abs(np.cov(draws.T) - exact) < 4 * error + slack)


def blocks(matrix):
    """Without what couples the bias and the kernel."""
    return np.block([[matrix[:1, :1], np.zeros((1, 2))], [np.zeros((2, 1)), matrix[1:, 1:]]])


PRECISIONS = {"full": lambda p: p, "diagonal": lambda p: np.diag(np.diag(p)), "kronecker": blocks}


@pytest.mark.parametrize("structure", STRUCTURES)
def test_it_meets_the_exact_posterior_of_linear_regression(problem, structure):
    """As far as it can: one output has Kronecker-factored blocks."""
    q = fit(problem, structure=structure)
    precision = PRECISIONS[structure](problem.precision)
    exact = np.linalg.inv(precision)
    chex.assert_trees_all_equal(q.mean(), at_the_mode(problem))
    variance = np.concatenate([v.ravel() for v in jax.tree.leaves(q.variance())])
    np.testing.assert_allclose(variance, np.diag(exact), rtol=1e-4)
    assert_covariance(drawn(q), exact)
    # The evidence of a quadratic is that of its mode and its determinant.
    difference = np.linalg.slogdet(precision)[1] - np.linalg.slogdet(problem.precision)[1]
    expected = problem.log_evidence - difference / 2
    np.testing.assert_allclose(q.log_marginal_likelihood, expected, rtol=1e-4)


def test_the_slope_of_the_evidence_tunes_the_prior(problem):
    """At the mode it is the derivative of the exact evidence, by differences."""

    def ours(scale):
        model = model_of(problem, jf.priors.Gaussian(scale))
        q = jf.laplace(model, at_the_mode(problem), (problem.x, problem.y))
        return q.log_marginal_likelihood

    exact = lambda scale: replace(problem, prior_scale=scale).log_evidence
    s, step = problem.prior_scale, 1e-3
    slope = (exact(s + step) - exact(s - step)) / (2 * step)
    assert float(jax.grad(ours)(s)) == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_leaves_that_are_not_chosen_stay(problem, structure):
    """The chosen one has the variance given the others, 1 / precision."""
    q = fit(problem, structure=structure, where=only_bias)
    np.testing.assert_array_equal(q.variance()["kernel"], jnp.zeros((2, 1)))
    np.testing.assert_allclose(q.variance()["bias"], 1 / problem.precision[0, 0], rtol=1e-4)
    draws = drawn(q)
    assert np.ptp(draws[:, 1:], axis=0).max() == 0
    variance = 1 / problem.precision[0, 0]
    assert abs(draws[:, 0].var() - variance) < 4 * variance * np.sqrt(2 / len(draws))


def test_the_last_layer_of_a_regression_is_a_kronecker_product():
    """Of the inputs' second moments and the precision of the noise; blocks of the full matrix."""
    key_x, key_y = jax.random.split(jax.random.key(0))
    x, y = jax.random.normal(key_x, (20, 3)), jax.random.normal(key_y, (20, 2))
    net = nn.Dense(2, use_bias=False)
    params = {"kernel": jnp.zeros((3, 2))}
    model = jf.Model(
        net.apply, prior=jf.priors.Gaussian(0.7), likelihood=jf.likelihoods.Gaussian(0.5)
    )
    full, kronecker = (
        jf.laplace(model, params, (x, y), structure=s) for s in ("full", "kronecker")
    )
    rows = np.asarray(full.gaussian.factors["kernel"], np.float64).reshape(6, 6)
    exact = rows.T @ rows
    moments = np.asarray(x, np.float64).T @ np.asarray(x, np.float64)
    by_hand = np.linalg.inv(np.kron(moments, np.eye(2)) / 0.5**2 + np.eye(6) / 0.7**2)
    np.testing.assert_allclose(exact, by_hand, atol=1e-5)
    np.testing.assert_allclose(kronecker.variance()["kernel"].ravel(), np.diag(exact), rtol=1e-4)
    np.testing.assert_allclose(
        kronecker.log_marginal_likelihood, full.log_marginal_likelihood, rtol=1e-5
    )
    assert_covariance(drawn(kronecker), exact)


@pytest.mark.parametrize("name", ["body/kernel", "body/bias", "head/kernel", "head/bias"])
def test_of_one_example_every_layer_is_a_kronecker_product(name):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, name="head")(nn.tanh(nn.Dense(4, name="body")(x)))

    x = jax.random.normal(jax.random.key(0), (1, 2))
    params = Net().init(jax.random.key(1), x)["params"]
    model = jf.Model(
        Net().apply, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical()
    )
    only = lambda path, leaf: path == name
    full, kronecker = (
        jf.laplace(model, params, (x, jnp.array([1])), where=only, structure=s)
        for s in ("full", "kronecker")
    )
    chex.assert_trees_all_close(kronecker.variance(), full.variance(), rtol=1e-4)
    np.testing.assert_allclose(
        kronecker.log_marginal_likelihood, full.log_marginal_likelihood, rtol=1e-5
    )


def test_what_data_say_nothing_of_keeps_the_width_of_the_prior():
    """Two inputs that are one, nearly without noise: in float32 the precision is singular."""
    x = jnp.repeat(jax.random.normal(jax.random.key(0), (500, 1)), 2, axis=1)
    net = nn.Dense(1, use_bias=False)
    model = jf.Model(
        net.apply, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Gaussian(1e-4)
    )
    for structure in ("full", "kronecker"):
        q = jf.laplace(model, {"kernel": jnp.full((2, 1), 0.5)}, (x, x[:, :1]), structure=structure)
        w = drawn(q, 10_000)
        assert w.sum(-1).std() < 1e-4
        assert abs((w[:, 0] - w[:, 1]).var() / 2 - 1) < 4 * np.sqrt(2 / len(w))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_prior_that_is_curved_upwards_is_refused(problem, structure):
    """A horseshoe is not log-concave: near its pole the density is curved upwards."""
    model = model_of(problem, jf.priors.HorseshoeLike())
    params = {"bias": jnp.ones(1), "kernel": jnp.full((2, 1), 0.5)}
    data = problem.x * 0, problem.y * 0
    where = lambda path, leaf: path == "kernel"
    with pytest.raises(jf.InputError, match=r"downward curvature of -.* at 'kernel'"):
        jf.laplace(model, params, data, structure=structure, where=where)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_likelihood_that_is_curved_upwards_is_refused(structure):
    """Of a target that is many of its standard deviations away; not clamped, nor if traced."""
    net = nn.Dense(2)
    x, y = jnp.ones((5, 1)), jnp.full((5, 1), 9.0)
    params = {"kernel": jnp.zeros((1, 2)), "bias": jnp.zeros(2)}
    prior, likelihood = jf.priors.Gaussian(1.0), jf.likelihoods.HeteroscedasticGaussian()
    model = jf.Model(net.apply, prior=prior, likelihood=likelihood)
    fit = lambda y: jf.laplace(
        model, params, (x, y), where=only_bias, structure=structure
    ).variance()["bias"]
    y = -y
    if structure == "diagonal":  # whose curvature along the axes is positive
        assert (fit(y) > 0).all()
        return
    with pytest.raises(jf.InputError, match=r"downward curvature of -\d.* at 'bias'"):
        fit(y)
    assert jnp.isnan(jax.jit(fit)(y)).any()


@pytest.mark.parametrize("structure", STRUCTURES)
def test_it_is_vmapped_over_data_sets(problem, structure):
    """As over the splits of a set: then the data are traced."""
    model, params = model_of(problem), at_the_mode(problem)
    one = lambda y: jf.laplace(model, params, (problem.x, y), structure=structure, batch_size=10)
    both = jax.jit(jax.vmap(one))(jnp.stack([problem.y, problem.y + 1]))
    of_both = jax.tree.map(lambda x: x[1], both)
    chex.assert_trees_all_close(of_both.variance(), one(problem.y + 1).variance(), rtol=1e-4)
    mixture = jf.Ensemble(both)
    chex.assert_trees_all_close(mixture.variance(), of_both.variance(), rtol=1e-4)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_it_is_kept_in_a_file_and_pickled(problem, structure, tmp_path):
    q = fit(problem, structure=structure)
    q.save(tmp_path / "posterior.npz")
    for copy in (jf.load(tmp_path / "posterior.npz"), pickle.loads(pickle.dumps(q))):
        chex.assert_trees_all_equal(copy.sample(jax.random.key(0)), q.sample(jax.random.key(0)))
        chex.assert_trees_all_equal(copy, q)
    assert "Laplace of" in repr(q) and len(repr(q).splitlines()) < 20


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train, name="norm")(nn.Conv(2, (2, 2))(x))
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(x))
        return nn.Dense(3, name="head")(x.mean((1, 2)))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_net_with_batch_statistics(structure):
    """All variables are given; the pass is that of evaluation, and so is the prediction."""
    x, y = jax.random.normal(jax.random.key(0), (6, 3, 3, 1)), jnp.array([0, 1, 2, 0, 1, 2])
    variables = Normed().init(jax.random.key(1), x)
    prior, likelihood = jf.priors.Gaussian(1.0), jf.likelihoods.Categorical()
    model = jf.Model.from_linen(Normed(), prior=prior, likelihood=likelihood)
    q = jf.laplace(model, variables, (x, y), structure=structure)
    draw = q.sample(jax.random.key(2))
    chex.assert_trees_all_equal(draw["batch_stats"], variables["batch_stats"])
    assert all((v > 0).all() for v in jax.tree.leaves(q.variance()))
    outputs = q.predictive(model.apply)({**draw, "params": q.mean()}, x)
    np.testing.assert_allclose(outputs, model.apply(variables, x), atol=1e-6)
    with pytest.raises(jf.InputError, match="batch statistics"):
        jf.laplace(model, variables["params"], (x, y), structure=structure)


def fractal():
    net = jf.FractalNet(3, columns=2, widths=(4,))
    x, y = jax.random.normal(jax.random.key(0), (6, 4, 4, 3)), jnp.array([0, 1, 2, 0, 1, 2])
    model = jf.fractal_model(
        net, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical()
    )
    return model, net.init(jax.random.key(1), x), (x, y)


def test_the_last_layer_of_a_fractal_net_predicts_as_the_net_does():
    model, variables, data = fractal()
    in_head = lambda path, leaf: path.startswith("head")
    q = jf.laplace(model, variables, data, where=in_head)
    draw = q.sample(jax.random.key(0))
    linear = q.predictive(model.apply)(draw, data[0])
    np.testing.assert_allclose(linear, model.apply(draw, data[0]), atol=1e-5)
    assert float(abs(linear - model.apply(variables, data[0])).max()) > 0.1


def test_all_weights_of_a_fractal_net():
    model, variables, data = fractal()
    q = jf.laplace(model, variables, data, structure="kronecker")
    outputs = q.predictive(model.apply)(q.sample(jax.random.key(0)), data[0])
    assert jnp.isfinite(outputs).all()


def test_equal_calls_compile_once(problem):
    counter = itertools.count()

    def call():
        def apply(variables, x):
            next(counter)
            return problem.net.apply(variables, x)

        prior, likelihood = jf.priors.Gaussian(1.0), jf.likelihoods.Gaussian(1.0)
        model = jf.Model(apply, prior=prior, likelihood=likelihood)
        data = problem.x, problem.y
        jf.laplace(model, at_the_mode(problem), data, batch_size=30)
        return next(counter)

    first, second, third = call(), call(), call()
    # Beside this count, one trace looks at the targets.
    assert second - first == third - second == 2


def test_what_does_not_fit_into_memory_is_refused(problem, monkeypatch):
    monkeypatch.setattr(jf.ops, "device_memory", lambda: 100)
    with pytest.raises(jf.InputError, match=r"structure='full'.* needs matrices of up to 3 rows"):
        fit(problem)
    assert fit(problem, structure="diagonal")


@pytest.mark.parametrize(
    ("message", "options"),
    [
        (r"`where`.*\['bias', 'kernel'\]", {"where": lambda path, leaf: path == "head"}),
        ("`structure` must be one of", {"structure": "kfac"}),
        ("`batch_size` must be at least 1", {"batch_size": 0}),
    ],
)
def test_options_out_of_range(problem, message, options):
    with pytest.raises(jf.InputError, match=message):
        fit(problem, **options)


def test_bad_input(problem):
    model, params, data = model_of(problem), at_the_mode(problem), (problem.x, problem.y)
    with pytest.raises(jf.InputError, match=r"`params` of `laplace` .* MeanField.*posterior.mean"):
        jf.laplace(model, jf.MeanField(jf.mean_field(params)), data)
    with pytest.raises(jf.InputError, match="`model` must be"):
        jf.laplace(problem.net, params, data)
    with pytest.raises(jf.InputError, match="at least one batch, got none"):
        jf.laplace(model, params, [])
    with pytest.raises(jf.InputError, match="`data` must be a pair"):
        jf.laplace(model, params, 3)
    bad_labels = jf.Model(
        lambda variables, x: x @ variables["params"]["kernel"][:, [0, 0]],
        prior=model.prior,
        likelihood=jf.likelihoods.Categorical(),
    )
    for y in (np.full(30, 2), np.full(30, -1)):
        with pytest.raises(jf.InputError, match=r"labels in \[0, 2\)"):
            jf.laplace(bad_labels, params, (np.asarray(problem.x), y))
    with pytest.raises(jf.InputError, match="`params` must be finite"):
        jf.laplace(model, jax.tree.map(lambda w: w * jnp.nan, params), data)
    uneven = jf.priors.ByPath(
        [("kernel", jf.priors.Gaussian(jnp.array([[1.0], [2.0]])))], default=jf.priors.Gaussian(1.0)
    )
    with pytest.raises(jf.InputError, match=r"one precision for all weights of a leaf.*'kernel'"):
        jf.laplace(model_of(problem, uneven), params, data, structure="kronecker")
