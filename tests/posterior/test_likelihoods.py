import chex
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from jaxtyping import TypeCheckError

from jfractal.errors import InputError
from jfractal.posterior import likelihoods

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
    def test_gaussian_meets_scipy_and_sums_over_one_target(self):
        for event in [(), (3,), (2, 3)]:
            outputs, targets = RNG.normal(0, 2, (2, 7, *event)).astype(np.float32)
            log_prob = scipy.stats.norm.logpdf(targets, outputs, 0.4)
            actual = self.variant(likelihoods.Gaussian(0.4).log_likelihood)(
                jnp.asarray(outputs), jnp.asarray(targets)
            )
            expected = log_prob.sum(tuple(range(1, log_prob.ndim)))
            np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_shapes_must_agree():
    # (batch, 1) against (batch,) would silently make a (batch, batch) table.
    # Under the import hook the annotation speaks first.
    with pytest.raises((InputError, TypeCheckError), match=r"[`']targets[`']"):
        likelihoods.Gaussian(1.0).log_likelihood(jnp.zeros((5, 1)), jnp.zeros((5,)))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_the_scale_must_be_positive(scale):
    with pytest.raises(InputError, match=f"`scale` must be above 0, got {scale}"):
        likelihoods.Gaussian(scale)


def test_a_likelihood_of_ones_own_defines_log_likelihood():
    with pytest.raises(NotImplementedError):
        likelihoods.Likelihood().log_likelihood(jnp.zeros((2, 1)), jnp.zeros((2, 1)))
