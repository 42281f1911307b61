from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf


@pytest.fixture(scope="module")
def problem():
    key = jax.random.key(0)
    x = jax.random.normal(key, (11, 4))
    net = nn.Sequential([nn.Dense(6), nn.relu, nn.Dense(3)])
    posterior = jf.MeanField(jf.mean_field(net.init(key, x)["params"], scale=0.4))
    return net, posterior, x


def test_each_draw_is_one_network(problem):
    net, posterior, x = problem
    key = jax.random.key(1)
    outputs = jf.sample_outputs(net.apply, posterior, x, key, num_samples=5)
    for output, k in zip(outputs, jax.random.split(key, 5), strict=True):
        np.testing.assert_allclose(output, net.apply(posterior.sample(k), x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"batch_size": 4}, {"batch_size": 1}, {"samples_per_pass": 1}])
def test_batches_and_passes_change_nothing(problem, options):
    net, posterior, x = problem
    whole = jf.sample_outputs(net.apply, posterior, x, jax.random.key(1), num_samples=10)
    parts = jf.sample_outputs(net.apply, posterior, x, jax.random.key(1), num_samples=10, **options)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_plain_numbers_may_be_among_the_variables():
    posterior = jf.Point({"slope": 2.0, "bias": np.float64(1)})
    logits = jf.sample_outputs(
        lambda w, x: w["slope"] * x + w["bias"], posterior, np.ones((3, 2)), jax.random.key(0)
    )
    assert np.all(logits == 3)


def test_ragged_last_batch_compiles_once(problem):
    net, posterior, x = problem
    traces = []

    def apply(variables, x):
        traces.append(x.shape)
        return net.apply(variables, x)

    predict = lambda x, **options: jf.predict(
        apply, posterior, x, jax.random.key(0), num_samples=8, batch_size=4, **options
    )
    predict(x, samples_per_pass=8)
    assert len(traces) == 1
    predict(x)  # traced once more, to see how many draws fit into a pass: as many
    assert len(traces) == 2
    predict(x[:7])
    predict(x[:9])
    assert len(traces) == 2


def test_predictive_is_the_mean_probability(problem):
    net, posterior, x = problem
    prediction = jf.predict(net.apply, posterior, x, jax.random.key(1), num_samples=20)
    probs = np.exp(np.asarray(prediction.samples, np.float64))
    np.testing.assert_allclose(prediction.probs, probs.mean(0), rtol=1e-5)
    np.testing.assert_allclose(prediction.probs.sum(-1), 1, rtol=1e-5)


def test_entropy_splits_into_aleatoric_and_epistemic(problem):
    net, posterior, x = problem
    prediction = jf.predict(net.apply, posterior, x, jax.random.key(1), num_samples=20)
    np.testing.assert_allclose(
        prediction.entropy, prediction.aleatoric + prediction.epistemic, atol=1e-5
    )
    assert (prediction.epistemic > 0).all()


def test_a_point_knows_no_epistemic_uncertainty(problem):
    net, posterior, x = problem
    point = jf.Point({"params": jf.mean(posterior.params)})
    prediction = jf.predict(net.apply, point, x, jax.random.key(1), num_samples=4)
    np.testing.assert_allclose(prediction.epistemic, 0, atol=1e-6)


def test_mixture_of_two_routes_worked_by_hand():
    sure = jf.Prediction(jnp.log(jnp.array([[[1.0, 0.0]]])))
    torn = jf.Prediction(jnp.log(jnp.array([[[0.5, 0.5]], [[0.0, 1.0]]])))  # two draws
    both = jf.mixture([sure, torn], jnp.log(jnp.array([0.75, 0.25])))
    # 3/4 · (1, 0) + 1/8 · (1/2, 1/2) + 1/8 · (0, 1)
    np.testing.assert_allclose(both.probs, [[0.8125, 0.1875]], rtol=1e-6)
    entropy = -(0.8125 * np.log(0.8125) + 0.1875 * np.log(0.1875))
    np.testing.assert_allclose(both.entropy, [entropy], rtol=1e-5)
    np.testing.assert_allclose(both.aleatoric, [np.log(2) / 8], rtol=1e-5)
    np.testing.assert_allclose(both.epistemic, [entropy - np.log(2) / 8], rtol=1e-5)
    of_mixtures = jf.mixture([both, sure], jnp.log(jnp.array([0.2, 0.8])))
    np.testing.assert_allclose(of_mixtures.probs, [[0.9625, 0.0375]], rtol=1e-5)


def test_one_route_of_probability_1_is_that_route(problem):
    net, posterior, x = problem
    one, other = (
        jf.predict(net.apply, posterior, x, jax.random.key(i), num_samples=3) for i in range(2)
    )
    both = jf.mixture([one, other], jf.Routes(jnp.array([0.0, -500.0])).log_probs)
    np.testing.assert_allclose(both.log_probs, one.log_probs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(both.epistemic, one.epistemic, atol=1e-6)


def test_a_mixture_needs_a_weight_for_each():
    sure = jf.Prediction(jnp.zeros((1, 1, 1)))
    for predictions, weights in (([], jnp.zeros(0)), ([sure], jnp.zeros(2))):
        with pytest.raises(jf.InputError, match="`log_weights` must hold one number for each"):
            jf.mixture(predictions, weights)


def test_credible_intervals_are_quantiles_of_the_draws(problem):
    net, posterior, x = problem
    prediction = jf.predict(net.apply, posterior, x, jax.random.key(1), num_samples=50)
    interval = prediction.credible_interval(0.9)
    expected = np.quantile(jnp.exp(prediction.samples), [0.05, 0.95], axis=0, method="inverted_cdf")
    np.testing.assert_allclose(jnp.stack(interval), expected, atol=1e-6)
    # A mixture's shares are those of its draws.
    doubled = jf.mixture([prediction, prediction], jnp.log(jnp.array([0.5, 0.5])))
    np.testing.assert_allclose(doubled.credible_interval(0.9), interval, atol=1e-6)


def test_joint_log_prob_is_of_the_batch_as_a_whole(problem):
    net, posterior, x = problem
    prediction = jf.predict(net.apply, posterior, x, jax.random.key(1), num_samples=50)
    labels = jnp.arange(11) % 3
    probs = np.exp(np.asarray(prediction.samples, np.float64))
    expected = np.log(probs[:, np.arange(11), labels].prod(1).mean())
    np.testing.assert_allclose(prediction.joint_log_prob(labels), expected, rtol=1e-4)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Members:
    """A stand-in for an ensemble, that says whom it is asked for."""

    w: jax.Array

    def sample(self, key):
        return self.sample_at(jax.random.uniform(key), key)

    def sample_at(self, u, key):
        return {"params": self.w[jnp.floor(u * len(self.w)).astype(int)]}


def say_who(variables, x):
    return variables["params"] + 0 * x


def members_drawn(num_members, num_samples, key):
    """Who was drawn, "samples"."""
    posterior = Members(jnp.arange(float(num_members)))
    draws = jf.sample_outputs(say_who, posterior, jnp.zeros(1), key, num_samples=num_samples)
    return np.asarray(draws[:, 0], int)


@pytest.mark.parametrize("num_members", [1, 3, 50, 1000])
def test_each_member_is_drawn_once_if_there_are_as_many_draws(num_members):
    for seed in range(5):
        drawn = members_drawn(num_members, num_members, jax.random.key(seed))
        np.testing.assert_array_equal(drawn, np.arange(num_members))


def test_members_are_drawn_evenly_and_without_bias():
    counts = np.array(
        [
            np.bincount(members_drawn(3, 5, key), minlength=3)
            for key in jax.random.split(jax.random.key(0), 400)
        ]
    )
    assert set(counts.ravel()) == {1, 2}  # 5/3 of each, as far as possible
    error = counts.std(0) / np.sqrt(len(counts))
    assert np.all(np.abs(counts.mean(0) - 5 / 3) < 4 * error)
    few = [members_drawn(7, 1, key)[0] for key in jax.random.split(jax.random.key(1), 700)]
    share = np.bincount(few, minlength=7)
    assert np.all(np.abs(share - 100) < 4 * np.sqrt(700 / 7 * 6 / 7))


@pytest.mark.parametrize("size", [0, 2.5])
@pytest.mark.parametrize("option", ["num_samples", "batch_size", "samples_per_pass"])
def test_bad_input(problem, option, size):
    net, posterior, x = problem
    with pytest.raises(jf.InputError, match=f"`{option}`"):
        jf.predict(net.apply, posterior, x, jax.random.key(0), **{option: size})
    with pytest.raises(jf.InputError, match="`x`"):
        jf.predict(net.apply, posterior, x[:0], jax.random.key(0))


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda q: q.params, "a dict"),
        (lambda q: None, "a NoneType"),
        (lambda q: jf.MeanField, "the class MeanField"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(problem, make, shown):
    net, posterior, x = problem
    with pytest.raises(jf.InputError, match=rf"must have `sample\(key\) .*, got {shown}"):
        jf.predict(net.apply, make(posterior), x, jax.random.key(0))
