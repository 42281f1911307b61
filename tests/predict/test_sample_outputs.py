from dataclasses import dataclass
from typing import ClassVar

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


class Counted(nn.Module):
    """A net that counts how often it is traced, for all of its kind; equal to others like it."""

    features: int = 3
    traces: ClassVar[list] = []

    @nn.compact
    def __call__(self, x):
        self.traces.append(x.shape)
        return nn.Dense(self.features)(x)


@pytest.fixture
def traces():
    Counted.traces.clear()
    return Counted.traces


def counted(x, **options):
    posterior = jf.Point(Counted().init(jax.random.key(0), x))
    Counted.traces.pop()
    return jf.sample_outputs(
        Counted().apply, posterior, x, jax.random.key(0), num_samples=8, batch_size=4, **options
    )


def test_ragged_last_batch_compiles_once(problem, traces):
    _, _, x = problem
    counted(x, samples_per_pass=8)
    assert len(traces) == 1
    counted(x)  # traced once more, to see how many draws fit into a pass: as many
    assert len(traces) == 2
    counted(x[:7])
    counted(x[:9])
    assert len(traces) == 2


def test_inputs_may_be_a_tree(problem):
    net, posterior, x = problem
    apply = lambda variables, x: net.apply(variables, jnp.concatenate([x["a"], *x["b"]], axis=1))
    tree = {"a": x[:, :1], "b": [x[:, 1:2], np.asarray(x[:, 2:])]}
    for options in ({}, {"batch_size": 4}):
        outputs = jf.sample_outputs(apply, posterior, tree, jax.random.key(1), **options)
        expected = jf.sample_outputs(net.apply, posterior, x, jax.random.key(1))
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


def test_outputs_may_be_a_tree(problem):
    net, posterior, x = problem
    apply = lambda variables, x: {"logits": net.apply(variables, x)}
    outputs = jf.sample_outputs(apply, posterior, x, jax.random.key(1), batch_size=4)
    assert outputs["logits"].shape == (32, 11, 3)


def test_a_posterior_of_another_model_runs_that(problem):
    """Here the net's tangent at the means, as of Laplace's approximation."""
    net, mean_field, x = problem

    @jax.tree_util.register_dataclass
    @dataclass(frozen=True)
    class Linear:
        inner: jf.MeanField
        calls: ClassVar[list] = []

        def sample(self, key):
            return self.inner.sample(key)

        def predictive(self, apply):
            self.calls.append(apply)
            return jf.linearize(apply, self.inner.mean())

    posterior, key = Linear(mean_field), jax.random.key(1)
    outputs = jf.sample_outputs(net.apply, posterior, x, key, num_samples=5)
    tangent = jf.linearize(net.apply, mean_field.mean())
    expected = jf.sample_outputs(tangent, mean_field, x, key, num_samples=5)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    num_calls = len(Linear.calls)
    jf.sample_outputs(net.apply, Linear(mean_field), x, key, num_samples=5)
    assert len(Linear.calls) == num_calls  # its arrays are arguments: nothing is compiled again


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Members:
    """A stand-in for an ensemble, that says whom it is asked for."""

    w: jax.Array

    def sample(self, key):
        return self.member(jax.random.uniform(key)).sample(key)

    def member(self, u):
        return jf.Point({"params": self.w[jnp.floor(u * len(self.w)).astype(int)]})


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
def test_bad_sizes(problem, option, size):
    net, posterior, x = problem
    with pytest.raises(jf.InputError, match=f"`{option}`"):
        jf.sample_outputs(net.apply, posterior, x, jax.random.key(0), **{option: size})


@pytest.mark.parametrize("cut", [lambda x: x[:0], lambda x: {"a": x, "b": x[1:]}, lambda x: 1.0])
def test_bad_inputs(problem, cut):
    net, posterior, x = problem
    with pytest.raises(jf.InputError, match="`x` must be an array, or a tree of arrays"):
        jf.sample_outputs(net.apply, posterior, cut(x), jax.random.key(0))


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
        jf.sample_outputs(net.apply, make(posterior), x, jax.random.key(0))


def test_the_net_itself_is_refused(problem):
    net, posterior, x = problem
    model = jf.Model(
        net.apply, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical()
    )
    for apply in (net, model):
        with pytest.raises(jf.InputError, match=r"`apply` must be a function .*, such as `net.app"):
            jf.sample_outputs(apply, posterior, x, jax.random.key(0))
