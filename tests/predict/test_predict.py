from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import jfractal as jf
from jfractal import ops

PRIOR = jf.priors.Gaussian(1.0)
LIKELIHOODS = {
    "Categorical": jf.likelihoods.Categorical(),
    "Bernoulli": jf.likelihoods.Bernoulli(),
    "Gaussian": jf.likelihoods.Gaussian(0.3),
    "HeteroscedasticGaussian": jf.likelihoods.HeteroscedasticGaussian(),
}
STATISTICS = {
    jf.Prediction: ("probs", "log_probs", "entropy", "aleatoric", "epistemic"),
    jf.BinaryPrediction: ("probs", "log_probs", "entropy", "aleatoric", "epistemic"),
    jf.RegressionPrediction: ("mean", "std", "aleatoric", "epistemic"),
}
X = jax.random.normal(jax.random.key(0), (11, 4))
KEY = jax.random.key(1)


def problem(likelihood="Categorical", outputs=4):
    """A model of one hidden layer, and a posterior over its weights."""
    net = nn.Sequential([nn.Dense(6), nn.tanh, nn.Dense(outputs)])
    posterior = jf.MeanField(jf.mean_field(net.init(KEY, X)["params"], scale=0.4))
    return jf.Model(net.apply, prior=PRIOR, likelihood=LIKELIHOODS[likelihood]), posterior


def statistics(prediction):
    return {name: getattr(prediction, name) for name in STATISTICS[type(prediction)]}


def assert_close(these, those, rtol=1e-4, atol=1e-5):
    assert these.keys() == those.keys()
    for name in these:
        np.testing.assert_allclose(these[name], those[name], rtol=rtol, atol=atol, err_msg=name)


# What the likelihood says


@pytest.mark.parametrize("kind", ["model", "apply"])
def test_classes_are_means_of_softmaxes(kind):
    model, posterior = problem()
    first = model if kind == "model" else model.apply
    prediction = jf.predict(first, posterior, X, KEY, num_samples=20)
    logits = jf.sample_outputs(model.apply, posterior, X, KEY, num_samples=20)
    probs = scipy.special.softmax(np.asarray(logits, np.float64), -1).mean(0)
    assert type(prediction) is jf.Prediction and prediction.samples.shape == (20, 11, 4)
    np.testing.assert_allclose(prediction.probs, probs, rtol=1e-5)


@pytest.mark.parametrize("labels", [1, 4])
def test_truth_values_are_means_of_sigmoids(labels):
    """A softmax over one class would say 1, 1, 1, …"""
    model, posterior = problem("Bernoulli", labels)
    prediction = jf.predict(model, posterior, X, KEY, num_samples=20)
    logits = jf.sample_outputs(model.apply, posterior, X, KEY, num_samples=20)
    assert type(prediction) is jf.BinaryPrediction and prediction.entropy.shape == (11, labels)
    expected = scipy.special.expit(np.asarray(logits, np.float64)).mean(0)
    np.testing.assert_allclose(prediction.probs, expected, rtol=1e-5)
    np.testing.assert_allclose(
        prediction.entropy, prediction.aleatoric + prediction.epistemic, atol=1e-6
    )


@pytest.mark.parametrize("likelihood", ["Gaussian", "HeteroscedasticGaussian"])
def test_numbers_come_with_their_noise(likelihood):
    model, posterior = problem(likelihood)
    prediction = jf.predict(model, posterior, X, KEY, num_samples=20)
    outputs = jf.sample_outputs(model.apply, posterior, X, KEY, num_samples=20)
    means, scales = (np.asarray(m, np.float64) for m in model.likelihood.moments(outputs))
    np.testing.assert_allclose(prediction.mean, means.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(prediction.aleatoric, (scales**2).mean(0), rtol=1e-4)
    np.testing.assert_allclose(prediction.epistemic, means.var(0), rtol=1e-4)
    y = means.mean(0) + 0.3
    joint = scipy.stats.norm.logpdf(y, means, scales).sum(-1)
    expected = scipy.special.logsumexp(joint, axis=0) - np.log(20)
    np.testing.assert_allclose(prediction.log_prob(y), expected, rtol=1e-4)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Counts(jf.Mixture):
    """A mixture of Poissons."""

    mean: jax.Array
    second: jax.Array

    @classmethod
    def single(cls, rate):
        return cls(rate, rate + rate**2)

    def mixed(self, log_weights):
        weigh = lambda a: jnp.tensordot(jnp.exp(log_weights), a, 1)
        return Counts(weigh(self.mean), weigh(self.second))


@dataclass(frozen=True)
class Poisson(jf.likelihoods.Likelihood):
    def log_likelihood(self, outputs, targets):
        return jax.scipy.stats.poisson.logpmf(targets, jnp.exp(outputs)).sum(-1)

    def prediction(self, outputs):
        return Counts.single(jnp.exp(outputs))


@pytest.mark.parametrize("keep_samples", [True, False])
def test_a_likelihood_of_ones_own(keep_samples):
    model, posterior = problem()
    model = jf.Model(model.apply, prior=PRIOR, likelihood=Poisson())
    p = jf.predict(model, posterior, X, KEY, num_samples=20, keep_samples=keep_samples)
    rates = np.exp(jf.sample_outputs(model.apply, posterior, X, KEY, num_samples=20))
    np.testing.assert_allclose(p.mean, rates.mean(0), rtol=1e-4)
    variance = rates.mean(0) + rates.var(0)
    np.testing.assert_allclose(p.second - p.mean**2, variance, rtol=1e-3)


# In half precision


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("keep_samples", [True, False])
@pytest.mark.parametrize("half", [jnp.bfloat16, jnp.float16])
def test_a_net_in_half_precision_is_reported_in_single(likelihood, keep_samples, half):
    """Outputs that half precision holds exactly say what they say in float32."""
    outputs = jax.random.normal(KEY, (20, 11, 4)).astype(half).astype(jnp.float32)
    options = {"num_samples": 20, "keep_samples": keep_samples}

    def ask(dtype):
        apply = lambda variables, x: variables["params"].astype(dtype)[x]
        model = jf.Model(apply, prior=PRIOR, likelihood=LIKELIHOODS[likelihood])
        return jf.predict(model, jf.Samples(outputs), jnp.arange(11), KEY, **options)

    assert {a.dtype for a in jax.tree.leaves(ask(half))} == {jnp.dtype("float32")}
    assert_close(statistics(ask(half)), statistics(ask(jnp.float32)), rtol=1e-6, atol=1e-6)


def test_slight_doubt_is_not_lost_in_half_precision():
    """In bfloat16, an entropy of 1 nat is known to 1/128 of it: more than the weights' doubt."""
    logits = jnp.array(
        [[[0.9375, 0.25]], [[1.0, 0.25]], [[1.0625, 0.25]]]
    )  # each exact in bfloat16
    posterior = jf.Samples(logits)
    apply = lambda variables, x: variables["params"].astype(jnp.bfloat16)[x]
    prediction = jf.predict(apply, posterior, jnp.zeros(1, int), KEY, num_samples=3)
    probs = scipy.special.softmax(np.asarray(logits, np.float64), -1)
    entropy = lambda p: -(p * np.log(p)).sum(-1)
    epistemic = entropy(probs.mean(0)) - entropy(probs).mean(0)
    assert 0 < epistemic[0] < 1 / 128
    np.testing.assert_allclose(prediction.epistemic, epistemic, rtol=1e-2)


# Traced


RAGGED = {"batch_size": 3, "samples_per_pass": 2}  # of 11 examples and an odd number of draws


@pytest.mark.parametrize("keep_samples", [True, False])
@pytest.mark.parametrize("likelihood", ["Categorical", "Bernoulli", "HeteroscedasticGaussian"])
def test_it_is_traceable_in_the_inputs(likelihood, keep_samples):
    """Under jit, vmap and grad, in ragged batches and passes, against one batch outside."""
    model, posterior = problem(likelihood)
    options = {**RAGGED, "num_samples": 5, "keep_samples": keep_samples}
    ask = lambda x, **options: statistics(jf.predict(model, posterior, x, KEY, **options))
    plain = ask(X, num_samples=5)
    assert_close(jax.jit(lambda x: ask(x, **options))(X), plain)
    stacked = jax.vmap(lambda x: ask(x, **options))(jnp.stack([X, 2 * X]))
    assert_close({name: a[0] for name, a in stacked.items()}, plain)
    total = lambda x, **options: sum(a.sum() for a in ask(x, **options).values())
    gradient = jax.grad(lambda x: total(x, **options))(X)
    np.testing.assert_allclose(gradient, jax.grad(lambda x: total(x, num_samples=5))(X), 1e-3, 1e-4)
    assert (jnp.abs(gradient).sum(-1) > 0).all()


def test_gradient_of_trees_of_inputs():
    model, posterior = problem()
    apply = lambda variables, x: model.apply(variables, x["a"] * x["b"])
    loss = lambda x: jf.predict(apply, posterior, x, KEY, batch_size=4).epistemic.sum()
    gradient = jax.grad(loss)({"a": X, "b": jnp.ones_like(X)})
    expected = jax.grad(lambda x: jf.predict(model, posterior, x, KEY).epistemic.sum())(X)
    np.testing.assert_allclose(gradient["a"], expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(gradient["b"], expected * X, rtol=1e-3, atol=1e-6)


# Reduced on the way


@pytest.mark.parametrize("options", [{}, RAGGED, {"samples_per_pass": 1}, {"samples_per_pass": 4}])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_draws_added_up_on_the_way_say_the_same(likelihood, options):
    """Also where the last pass is filled up: 7 draws in passes of 2 or 4."""
    model, posterior = problem(likelihood)
    ask = lambda **options: jf.predict(model, posterior, X, KEY, num_samples=7, **options)
    reduced = ask(keep_samples=False, **options)
    assert_close(statistics(reduced), statistics(ask()))
    assert reduced.draws is None
    with pytest.raises(jf.InputError, match=r"`credible_interval` needs .*`keep_samples=True`"):
        reduced.credible_interval()


def test_memory_does_not_grow_with_draws():
    """Ten thousand draws for ten thousand images: 4 GB if they were kept."""
    net = nn.Dense(10, use_bias=False)
    x = jax.ShapeDtypeStruct((10_000, 4), jnp.float32)
    posterior = jf.MeanField(jf.mean_field({"kernel": jnp.zeros((4, 10))}))

    def bytes_of(num_samples, keep_samples):
        ask = lambda x: jf.predict(
            net.apply, posterior, x, KEY, num_samples=num_samples, keep_samples=keep_samples
        )
        return ops.live_bytes(lambda x: statistics(ask(x)), x)

    assert bytes_of(10_000, keep_samples=True) > 4e9
    assert bytes_of(10_000, keep_samples=False) < 100e6
    grown = bytes_of(10_000, keep_samples=False) - bytes_of(1_000, keep_samples=False)
    assert grown < 9_000 * 100  # a key and a weight for each draw


# Compiled once


class Counted(nn.Module):
    """Counts its traces."""

    @nn.compact
    def __call__(self, x):
        TRACES.append(x.shape)
        return nn.Dense(3)(x)


TRACES = []


def test_equal_calls_compile_once():
    posterior = jf.Point(Counted().init(KEY, X))

    def ask(model):
        TRACES.clear()
        jf.predict(model, posterior, X, KEY, num_samples=2)
        return len(TRACES)

    model = lambda: jf.Model(Counted().apply, prior=PRIOR, likelihood=LIKELIHOODS["Categorical"])
    linen = lambda: jf.Model.from_linen(
        Counted(), prior=PRIOR, likelihood=LIKELIHOODS["Categorical"]
    )
    assert [ask(Counted().apply), ask(Counted().apply)] == [2, 0]  # its size, and the pass
    assert [ask(model()), ask(model())] == [0, 0]  # a bare `apply` is a classifier
    assert [ask(linen()), ask(linen())] == [2, 0]


# Refused


@pytest.mark.parametrize(
    ("apply", "shown"),
    [
        (lambda v, x: x[:, :1], "float32 of shape (11, 1)"),
        (lambda v, x: x[:, 0], "float32 of shape (11,)"),
        (lambda v, x: x[:, None], "float32 of shape (11, 1, 4)"),
        (lambda v, x: x.astype(int), "int32 of shape (11, 4)"),
        (lambda v, x: {"logits": x}, "<class 'dict'> of shape ()"),
    ],
)
@pytest.mark.parametrize("keep_samples", [True, False])
def test_what_cannot_be_a_classifier(apply, shown, keep_samples):
    with pytest.raises(jf.InputError, match="a classifier must be floating-point") as refusal:
        jf.predict(apply, jf.Point({}), X, KEY, keep_samples=keep_samples)
    assert f"got {shown}: for other outputs, give a" in str(refusal.value)


@pytest.mark.parametrize("model", [nn.Dense(3), None, {"params": {}}])
def test_what_is_no_model(model):
    with pytest.raises(jf.InputError, match=r"`model` must be a `jf.Model\(net.apply"):
        jf.predict(model, jf.Point({}), X, KEY)


def test_a_likelihood_that_does_not_say():
    class Silent(jf.likelihoods.Likelihood):
        pass

    class Loud(jf.likelihoods.Likelihood):
        def prediction(self, outputs):
            return outputs

    for likelihood, message in {
        Silent(): r"`predict` needs a method `prediction\(outputs\)` of Silent",
        Loud(): r"`prediction` of Loud must return a `jf.Mixture`",
    }.items():
        model, posterior = problem()
        model = jf.Model(model.apply, prior=PRIOR, likelihood=likelihood)
        with pytest.raises(jf.InputError, match=message):
            jf.predict(model, posterior, X, KEY)


def test_noise_needs_two_outputs_for_each_value():
    model, posterior = problem("HeteroscedasticGaussian", 3)
    with pytest.raises(jf.InputError, match="an even number, got shape"):
        jf.predict(model, posterior, X, KEY)


def test_missing_statistics_are_named():
    net = nn.Sequential([nn.BatchNorm(use_running_average=True), nn.Dense(3)])
    posterior = jf.Point({"params": net.init(KEY, X)["params"]})
    with pytest.raises(jf.InputError, match="lacks variables that the net needs"):
        jf.predict(net.apply, posterior, X, KEY)


def test_a_point_knows_no_epistemic_uncertainty():
    model, posterior = problem()
    point = jf.Point({"params": posterior.mean()})
    prediction = jf.predict(model, point, X, KEY, num_samples=4)
    np.testing.assert_allclose(prediction.epistemic, 0, atol=1e-6)
