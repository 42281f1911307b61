import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from jaxtyping import TypeCheckError

from jfractal import likelihoods
from jfractal.errors import InputError

RNG = np.random.default_rng(0)


class LogLikelihood(chex.TestCase):
    """With and without jit."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_categorical_meets_scipy(self):
        logits = RNG.normal(0, 5, (20, 4)).astype(np.float32)
        labels = RNG.integers(0, 4, 20)
        expected = scipy.special.log_softmax(logits, axis=-1)[np.arange(20), labels]
        actual = self.variant(likelihoods.Categorical().log_likelihood)(
            jnp.asarray(logits), jnp.asarray(labels)
        )
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_categorical_is_finite_where_probabilities_are_not(self):
        logits = jnp.array([[1e4, 0.0], [-1e4, 0.0]])
        actual = self.variant(likelihoods.Categorical().log_likelihood)(logits, jnp.array([1, 0]))
        np.testing.assert_array_equal(actual, [-1e4, -1e4])

    @chex.variants(with_jit=True, without_jit=True)
    def test_bernoulli_meets_scipy_and_two_classes(self):
        logits = RNG.normal(0, 5, (20, 3)).astype(np.float32)
        targets = RNG.integers(0, 2, (20, 3))
        expected = scipy.stats.bernoulli.logpmf(targets, scipy.special.expit(np.float64(logits)))
        log_likelihood = self.variant(likelihoods.Bernoulli().log_likelihood)
        for dtype in (int, float, bool):
            actual = log_likelihood(jnp.asarray(logits), jnp.asarray(targets, dtype))
            np.testing.assert_allclose(actual, expected.sum(1), rtol=1e-5, atol=1e-6)
        two = np.stack([0 * logits[:, 0], logits[:, 0]], axis=1)
        categorical = likelihoods.Categorical().log_likelihood(
            jnp.asarray(two), jnp.asarray(targets[:, 0])
        )
        actual = log_likelihood(jnp.asarray(logits[:, 0]), jnp.asarray(targets[:, 0]))
        np.testing.assert_allclose(actual, categorical, rtol=1e-5, atol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_bernoulli_is_finite_where_probabilities_are_not(self):
        actual = self.variant(likelihoods.Bernoulli().log_likelihood)(
            jnp.array([1e4, -1e4]), jnp.array([0, 1])
        )
        np.testing.assert_array_equal(actual, [-1e4, -1e4])

    @chex.variants(with_jit=True, without_jit=True)
    def test_gaussian_meets_scipy_and_sums_over_one_target(self):
        for event in [(), (3,), (2, 3)]:
            outputs, targets = RNG.normal(0, 2, (2, 7, *event)).astype(np.float32)
            log_prob = scipy.stats.norm.logpdf(targets, outputs, 0.4)
            actual = self.variant(likelihoods.Gaussian(0.4).log_likelihood)(
                jnp.asarray(outputs), jnp.asarray(targets)
            )
            expected = log_prob.sum(tuple(range(1, log_prob.ndim)))
            np.testing.assert_allclose(actual, expected, rtol=1e-4)

    @chex.variants(with_jit=True, without_jit=True)
    def test_heteroscedastic_gaussian_meets_scipy(self):
        for event in [(1,), (3,), (2, 3)]:
            mean, rho, targets = RNG.normal(0, 2, (3, 7, *event)).astype(np.float32)
            std = np.log1p(np.exp(np.float64(rho))) + 0.01
            log_prob = scipy.stats.norm.logpdf(targets, mean, std)
            actual = self.variant(likelihoods.HeteroscedasticGaussian(0.01).log_likelihood)(
                jnp.asarray(np.concatenate([mean, rho], axis=-1)), jnp.asarray(targets)
            )
            expected = log_prob.sum(tuple(range(1, log_prob.ndim)))
            np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_the_noise_never_vanishes():
    outputs = jnp.array([[0.3, -1e3]])
    value = likelihoods.HeteroscedasticGaussian(0.01).log_likelihood(outputs, jnp.array([[0.3]]))
    np.testing.assert_allclose(value, scipy.stats.norm.logpdf(0, 0, 0.01), rtol=1e-6)


LIKELIHOODS = [
    (likelihoods.Bernoulli(), jnp.zeros((5, 1))),
    (likelihoods.Gaussian(1.0), jnp.zeros((5, 1))),
    (likelihoods.HeteroscedasticGaussian(), jnp.zeros((5, 2))),
]


@pytest.mark.parametrize(("likelihood", "outputs"), LIKELIHOODS)
def test_shapes_must_agree(likelihood, outputs):
    # Under the import hook the annotation may speak first.
    with pytest.raises((InputError, TypeCheckError), match=r"[`']targets[`']"):
        likelihood.log_likelihood(outputs, jnp.zeros((5,)))


def test_means_and_rhos_are_equal_in_number():
    with pytest.raises(InputError, match=r"last axis .* an even number, got shape \(5, 3\)"):
        likelihoods.HeteroscedasticGaussian().log_likelihood(jnp.zeros((5, 3)), jnp.zeros((5, 1)))


@pytest.mark.parametrize("label", [-1, 3])
@pytest.mark.nan
def test_labels_out_of_range(label):
    logits, labels = jnp.zeros((4, 3)), jnp.array([0, 1, 2, label])
    log_likelihood = likelihoods.Categorical().log_likelihood
    with pytest.raises(InputError, match=rf"labels in \[0, 3\), .* {min(label, 0)} to"):
        log_likelihood(logits, labels)
    under_jit = jax.jit(log_likelihood)(logits, labels)
    np.testing.assert_array_equal(jnp.isnan(under_jit), [False, False, False, True])
    # The gradient of a loss tells as well, which a mere `where` would make 0.
    gradient = jax.jit(jax.grad(lambda x, y: log_likelihood(x, y).sum()))(logits, labels)
    np.testing.assert_array_equal(jnp.isnan(gradient).all(-1), [False, False, False, True])


@pytest.mark.parametrize("labels", [jnp.zeros(4), jnp.zeros((4, 1), int), jnp.zeros((4, 3), int)])
def test_labels_are_one_integer_for_each_example(labels):
    with pytest.raises((InputError, TypeCheckError), match=r"labels|targets"):
        likelihoods.Categorical().log_likelihood(jnp.zeros((4, 3)), labels)


@pytest.mark.nan
def test_binary_targets_are_0_or_1():
    targets = jnp.array([0, 1, 2])
    log_likelihood = likelihoods.Bernoulli().log_likelihood
    with pytest.raises(InputError, match=r"`targets` must be 0 or 1, .* from 0 to 2"):
        log_likelihood(jnp.zeros(3), targets)
    np.testing.assert_array_equal(
        jnp.isnan(jax.jit(log_likelihood)(jnp.zeros(3), targets)), [False, False, True]
    )


@pytest.mark.parametrize("reduce", [jnp.mean, jnp.sum, lambda x: x[:, None]])
def test_a_likelihood_is_one_number_per_example(reduce):
    class Reduced(likelihoods.Gaussian):
        def log_likelihood(self, outputs, targets):
            return reduce(super().log_likelihood(outputs, targets))

    y = jnp.zeros((4, 1))
    assert likelihoods.per_example(likelihoods.Gaussian(1.0), y, y).shape == (4,)
    with pytest.raises(InputError, match=r"one number per example, not their mean .* \(4,\), got"):
        likelihoods.per_example(Reduced(1.0), y, y)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_the_scale_must_be_positive(scale):
    with pytest.raises(InputError, match=f"`scale` must be above 0 and finite, got {scale}"):
        likelihoods.Gaussian(scale)
    with pytest.raises(InputError, match=f"`min_scale` must be above 0 and finite, got {scale}"):
        likelihoods.HeteroscedasticGaussian(scale)


def test_a_likelihood_of_ones_own_defines_log_likelihood():
    with pytest.raises(NotImplementedError):
        likelihoods.Likelihood().log_likelihood(jnp.zeros((2, 1)), jnp.zeros((2, 1)))


# Weights of classes


def test_weights_of_classes_multiply_the_log_likelihood():
    logits, labels = jax.random.normal(jax.random.key(0), (6, 3)), jnp.array([0, 1, 2, 2, 1, 0])
    weights = np.array([1.0, 2.0, 0.5])
    plain = likelihoods.Categorical().log_likelihood(logits, labels)
    weighted = likelihoods.Categorical(weights=weights).log_likelihood(logits, labels)
    np.testing.assert_allclose(weighted, weights[labels] * plain, rtol=1e-6)


def test_a_weight_of_two_is_every_example_twice():
    """Weighted examples and repeated ones have the same gradient."""
    logits, labels = jax.random.normal(jax.random.key(0), (4, 2)), jnp.array([0, 1, 1, 0])
    twice = jnp.array([0, 1, 1, 2, 2, 3])
    weighted = likelihoods.Categorical(weights=(1.0, 2.0))
    np.testing.assert_allclose(
        jax.grad(lambda x: weighted.log_likelihood(x, labels).sum())(logits),
        jax.grad(lambda x: likelihoods.Categorical().log_likelihood(x[twice], labels[twice]).sum())(
            logits
        ),
        rtol=1e-6,
    )


def test_likelihoods_of_equal_weights_are_equal():
    weighted = likelihoods.Categorical(weights=np.array([1.0, 2.0]))
    assert weighted == likelihoods.Categorical(weights=(1.0, 2.0))
    assert hash(weighted) == hash(likelihoods.Categorical(weights=(1.0, 2.0)))


@pytest.mark.parametrize("weights", [(1.0, 0.0), (1.0, np.nan), (np.inf, 1.0), (), 2.0, "ab"])
@pytest.mark.nan
def test_weights_of_classes_are_positive(weights):
    with pytest.raises((InputError, TypeCheckError), match=r"`weights` must|weights"):
        likelihoods.Categorical(weights=weights)


def test_there_is_a_weight_for_each_class():
    weighted = likelihoods.Categorical(weights=(1.0, 2.0))
    with pytest.raises(InputError, match="`weights` must be one number for each of the 3 classes"):
        weighted.log_likelihood(jnp.zeros((1, 3)), jnp.zeros(1, int))


# Label smoothing


def test_smoothed_labels_are_those_of_optax():
    logits, labels = jax.random.normal(jax.random.key(0), (6, 3)), jnp.array([0, 1, 2, 2, 1, 0])
    actual = likelihoods.Categorical(smoothing=0.3).log_likelihood(logits, labels)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, 3), 0.3)
    expected = -optax.softmax_cross_entropy(logits, targets)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_smoothed_labels_are_best_predicted_by_themselves():
    """The gradient vanishes where the softmax is (1 − s) of the label and s / K of every class."""
    best = jnp.log(jnp.array([[0.8, 0.1, 0.1]]))
    smoothed = likelihoods.Categorical(smoothing=0.3)
    slope = jax.grad(lambda x: smoothed.log_likelihood(x, jnp.array([0])).sum())(best)
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_weights_of_classes_multiply_smoothed_labels():
    logits, labels = jax.random.normal(jax.random.key(0), (6, 3)), jnp.array([0, 1, 2, 2, 1, 0])
    weights = np.array([1.0, 2.0, 0.5])
    plain = likelihoods.Categorical(smoothing=0.2).log_likelihood(logits, labels)
    weighted = likelihoods.Categorical(weights, smoothing=0.2).log_likelihood(logits, labels)
    np.testing.assert_allclose(weighted, weights[labels] * plain, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, np.nan])
def test_smoothing_is_a_share(smoothing):
    with pytest.raises(InputError, match="`smoothing` must be"):
        likelihoods.Categorical(smoothing=smoothing)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_outputs_are_read_in_single_precision(dtype):
    logits = (10 * jax.random.normal(jax.random.key(0), (5, 4))).astype(dtype)
    wide = logits.astype(jnp.float32)
    for likelihood, targets in (
        (likelihoods.Categorical(), jnp.arange(5) % 4),
        (likelihoods.Bernoulli(), (wide > 1).astype(int)),
        (likelihoods.Gaussian(0.1), wide + 0.3),
        (likelihoods.HeteroscedasticGaussian(), wide[:, :2]),
    ):
        actual = likelihood.log_likelihood(logits, targets)
        assert actual.dtype == jnp.float32
        np.testing.assert_array_equal(actual, likelihood.log_likelihood(wide, targets))


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_targets_are_finite(bad):
    y = jnp.array([[0.0], [bad]])
    with pytest.raises(InputError, match="`targets` must be finite"):
        likelihoods.Gaussian(1.0).log_likelihood(jnp.zeros((2, 1)), y)
