import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jfractal.errors import InputError
from jfractal.posterior import Gaussian, kl, mean_field, priors

MIXTURES = [
    priors.ScaleMixture(),
    priors.ScaleMixture(pi=0.25, scale1=1.0, scale2=np.exp(-7)),
    priors.ScaleMixture(pi=0.9, scale1=0.3, scale2=2.0),
]


def mixture_log_prob(prior, w):
    """The log density in float64."""
    components = scipy.stats.norm.logpdf(
        np.asarray(w, np.float64)[..., None], 0, [prior.scale1, prior.scale2]
    )
    return scipy.special.logsumexp(components, axis=-1, b=[prior.pi, 1 - prior.pi])


class LogProb(chex.TestCase):
    """With and without jit."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_gaussian_meets_scipy(self):
        w = jnp.linspace(-5, 5, 101)
        for scale, mean in [(1.0, 0.0), (0.2, -1.5)]:
            actual = self.variant(priors.Gaussian(scale, mean).log_prob)(w)
            np.testing.assert_allclose(actual, scipy.stats.norm.logpdf(w, mean, scale), rtol=2e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_scale_mixture_meets_log_sum_exp_far_into_the_tails(self):
        w = np.concatenate([-np.logspace(-6, 3, 60), [0], np.logspace(-6, 3, 60)])
        w = jnp.asarray(w, jnp.float32)
        for prior in MIXTURES:
            actual = self.variant(prior.log_prob)(w)
            np.testing.assert_allclose(actual, mixture_log_prob(prior, w), rtol=2e-5, atol=2e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_the_gradient_lives_in_the_tail(self):
        # Ten standard deviations out the wide component alone pulls: −w / scale1².
        gradient = self.variant(jax.grad(priors.ScaleMixture(scale1=0.5).log_prob))
        for w in (10.0, -10.0, 100.0):
            np.testing.assert_allclose(gradient(w), -w / 0.25, rtol=1e-5)
        assert gradient(0.0) == 0

    @chex.variants(with_jit=True, without_jit=True)
    def test_a_mixture_of_equals_is_gaussian(self):
        w = jnp.linspace(-4, 4, 50)
        mixture, gaussian = priors.ScaleMixture(0.3, 0.7, 0.7), priors.Gaussian(0.7)
        actual = self.variant(mixture.log_prob)(w)
        np.testing.assert_allclose(actual, gaussian.log_prob(w), rtol=1e-5, atol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_tree_log_prob_sums_over_all_weights(self):
        params = {"a": jnp.arange(6.0).reshape(2, 3), "b": [jnp.ones(()), jnp.full(4, -2.0)]}
        prior = priors.Gaussian(2.0)
        flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
        expected = scipy.stats.norm.logpdf(flat, 0, 2).sum()
        np.testing.assert_allclose(self.variant(prior.tree_log_prob)(params), expected, rtol=1e-6)


@pytest.mark.parametrize("prior", [priors.Gaussian(0.3, 0.2), *MIXTURES])
def test_densities_integrate_to_one(prior):
    positive = np.logspace(-6, 1.5, 4000)
    w = np.concatenate([-positive[::-1], [0], positive])
    density = np.exp(np.asarray(prior.log_prob(jnp.asarray(w, jnp.float32)), np.float64))
    assert np.trapezoid(density, w) == pytest.approx(1, rel=1e-4)


# Monte Carlo divergence


def monte_carlo_kl(prior, leaf, shape):
    keys = jax.random.split(jax.random.key(0), shape)
    draw = lambda key: priors.Prior.kl(prior, leaf, key)
    for _ in shape:
        draw = jax.vmap(draw)
    return np.asarray(jax.jit(draw)(keys), np.float64)


def test_the_estimate_meets_the_closed_form_at_one_over_root_samples():
    leaf = Gaussian(jnp.array([0.5, -1.0, 0.0]), jnp.array([-1.0, 0.0, 1.0]))
    prior = priors.Gaussian(0.8, 0.1)
    exact = float(prior.kl(leaf))
    draws = monte_carlo_kl(prior, leaf, (256, 1024))
    assert abs(draws.mean() - exact) < 4 * draws.std() / draws.size**0.5

    def error(num_samples):
        means = draws[:, :num_samples].mean(1)
        return np.sqrt(np.mean((means - exact) ** 2))

    # 256 repetitions know a root mean square to 4.4 %, a ratio of two to 6.3 %.
    assert error(16) / error(1024) == pytest.approx(8, rel=4 * 0.063)


@pytest.mark.parametrize("prior", MIXTURES)
def test_the_kl_to_a_mixture_meets_quadrature(prior):
    q = mean_field({"w": jnp.asarray(0.3)}, scale=0.2)["w"]
    w = np.linspace(0.3 - 2.4, 0.3 + 2.4, 200_001)
    log_q = scipy.stats.norm.logpdf(w, 0.3, 0.2)
    exact = np.trapezoid(np.exp(log_q) * (log_q - mixture_log_prob(prior, w)), w)
    draws = monte_carlo_kl(prior, q, (20_000,))
    assert abs(draws.mean() - exact) < 4 * draws.std() / draws.size**0.5


def test_a_key_is_asked_for_where_it_is_needed():
    q = mean_field({"w": jnp.zeros(3)})
    with pytest.raises(InputError, match=r"KL to ScaleMixture\(.* has no closed form: `key` must"):
        kl(q, priors.ScaleMixture())
    assert jnp.isfinite(kl(q, priors.ScaleMixture(), jax.random.key(0)))
    assert kl(q, priors.Gaussian()) == kl(q, priors.Gaussian(), jax.random.key(0))


def test_leaves_get_keys_of_their_own():
    leaf = mean_field(jnp.zeros(3), scale=0.3)
    prior, key = priors.ScaleMixture(), jax.random.key(0)
    both = kl({"a": leaf, "b": leaf}, prior, key)
    first, second = (prior.kl(leaf, k) for k in jax.random.split(key))
    assert first != second
    np.testing.assert_allclose(both, first + second, rtol=1e-6)


def test_a_prior_of_ones_own_needs_a_log_prob_only():
    class Laplace(priors.Prior):
        def log_prob(self, w):
            return -jnp.abs(w) - jnp.log(2.0)

    q = mean_field(jnp.zeros(()), scale=1.0)
    draws = monte_carlo_kl(Laplace(), q, (20_000,))
    exact = np.sqrt(2 / np.pi) + np.log(2) - 0.5 * np.log(2 * np.pi * np.e)  # E|w| − H[q] + log 2
    assert abs(draws.mean() - exact) < 4 * draws.std() / draws.size**0.5
    with pytest.raises(NotImplementedError):
        priors.Prior().log_prob(jnp.zeros(1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: priors.Gaussian(scale=0.0), "`scale` must be above 0, got 0.0"),
        (lambda: priors.Gaussian(scale=float("nan")), "`scale` must be above 0, got nan"),
        (lambda: priors.ScaleMixture(pi=0.0), "`pi` must be between 0 and 1, got 0.0"),
        (lambda: priors.ScaleMixture(pi=1.0), "`pi` must be between 0 and 1, got 1.0"),
        (lambda: priors.ScaleMixture(scale1=-1.0), "`scale1` and `scale2` must be above 0, got -1"),
        (lambda: priors.ScaleMixture(scale2=0.0), "`scale1` and `scale2` .* got 1.0 and 0.0"),
    ],
)
def test_parameters_out_of_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
