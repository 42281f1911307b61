"""Priors of one leaf: densities against scipy, divergences against quadrature."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

from jfractal import priors
from jfractal.errors import InputError
from jfractal.posterior import Gaussian, mean_field
from jfractal.posterior.gaussian import inverse_softplus
from jfractal.priors import kl

MIXTURES = [
    priors.ScaleMixture(),
    priors.ScaleMixture(pi=0.25, scale1=1.0, scale2=np.exp(-7)),
    priors.ScaleMixture(pi=0.9, scale1=0.3, scale2=2.0),
]
HEAVY_TAILS = [priors.StudentT(3.5, 0.8), priors.Cauchy(0.6), priors.HorseshoeLike(0.9)]
EXACT = [priors.Gaussian(0.8, 0.1), priors.Laplace(0.7)]
ALL = [*EXACT, *MIXTURES, *HEAVY_TAILS]


def log_density(prior, w):
    """In float64, by scipy."""
    w = np.asarray(w, np.float64)
    match prior:
        case priors.Gaussian(scale, mean):
            return scipy.stats.norm.logpdf(w, mean, scale)
        case priors.Laplace(scale):
            return -np.abs(w) / scale - np.log(2 * scale)  # SciPy's underflows
        case priors.StudentT(df, scale):
            return scipy.stats.t.logpdf(w, df, 0, scale)
        case priors.Cauchy(scale):
            return scipy.stats.cauchy.logpdf(w, 0, scale)
        case priors.HorseshoeLike(scale):
            return np.log(np.log1p((scale / w) ** 2) / (2 * np.pi * scale))
        case priors.ScaleMixture(pi, scale1, scale2):
            components = scipy.stats.norm.logpdf(w[..., None], 0, [scale1, scale2])
            return scipy.special.logsumexp(components, axis=-1, b=[pi, 1 - pi])


def quadrature_kl(prior, mean, std):
    """KL(N(mean, std²) ‖ prior), between grid points so that none is 0."""
    w = mean + std * (np.linspace(-10, 10, 400_000, endpoint=False) + np.pi * 1e-6)
    log_q = scipy.stats.norm.logpdf(w, mean, std)
    return np.trapezoid(np.exp(log_q) * (log_q - log_density(prior, w)), w)


class LogProb(chex.TestCase):
    """With and without jit."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_densities_meet_scipy_far_into_the_tails(self):
        w = np.logspace(-6, 3, 60)
        w = np.concatenate([-w, w]).astype(np.float32)
        for prior in ALL:
            actual = self.variant(prior.log_prob)(jnp.asarray(w))
            np.testing.assert_allclose(actual, log_density(prior, w), rtol=3e-5, atol=3e-5)

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

    @chex.variants(with_jit=True, without_jit=True)
    def test_the_pole_of_the_horseshoe_is_finite(self):
        for w in (0.0, 1e-38, 1e-30, 1e15):
            value, gradient = self.variant(jax.value_and_grad(priors.HorseshoeLike().log_prob))(
                jnp.asarray(w)
            )
            assert jnp.isfinite(value) and jnp.isfinite(gradient)


@pytest.mark.parametrize("prior", ALL)
def test_densities_integrate_to_one(prior):
    w = np.logspace(-9, 8, 20_000)
    density = lambda w: np.exp(np.asarray(prior.log_prob(jnp.asarray(w, jnp.float32)), np.float64))
    mass = np.trapezoid((density(w) + density(-w)) * w, np.log(w))
    assert mass == pytest.approx(1, rel=1e-4)


def test_a_scale_may_be_traced():
    leaf = mean_field(jnp.full(3, 0.5), scale=0.2)
    gradient = jax.grad(lambda scale: kl(leaf, priors.Gaussian(scale)))(0.8)
    assert gradient == pytest.approx(3 * (1 / 0.8 - (0.5**2 + 0.2**2) / 0.8**3), rel=1e-5)


# A leaf as a whole


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_hierarchical_scale_meets_the_multivariate_t(shape):
    prior = priors.HierarchicalScale(1.7, 0.4)
    w = np.random.default_rng(0).normal(0, 2, shape).astype(np.float32)
    n = w.size
    oracle = scipy.stats.multivariate_t(np.zeros(n), 0.4 / 1.7 * np.eye(n), df=3.4)
    actual = prior.log_prob(jnp.asarray(w))
    assert actual.shape == ()
    np.testing.assert_allclose(actual, oracle.logpdf(w.ravel()), rtol=1e-5)


def test_hierarchical_scale_integrates_the_variance_out():
    a, b, w = 1.7, 0.4, np.array([0.3, -1.2, 0.8])
    joint = lambda v: np.exp(
        scipy.stats.norm.logpdf(w, 0, np.sqrt(v)).sum() + scipy.stats.invgamma.logpdf(v, a, scale=b)
    )
    evidence, _ = scipy.integrate.quad(joint, 0, np.inf)
    actual = priors.HierarchicalScale(a, b).log_prob(jnp.asarray(w, jnp.float32))
    np.testing.assert_allclose(actual, np.log(evidence), rtol=1e-5)


def test_of_a_million_weights_the_density_keeps_its_digits():
    w = np.random.default_rng(0).normal(0, 0.05, 1_000_000).astype(np.float32)
    half, square = w.size / 2, (w.astype(np.float64) ** 2).sum()
    constant = scipy.special.gammaln(1 + half) - half * np.log(2 * np.pi * 0.01)
    exact = constant - (1 + half) * np.log1p(square / 0.02)
    actual = priors.HierarchicalScale(1.0, 0.01).log_prob(jnp.asarray(w))
    np.testing.assert_allclose(actual, exact, rtol=1e-5)


def test_empirical_bayes_is_the_best_gaussian():
    leaf = Gaussian(jnp.array([0.5, -1.0, 0.1]), jnp.array([-1.0, 0.0, -2.0]))
    gaussian = lambda scale: float(kl(leaf, priors.Gaussian(scale)))
    best = scipy.optimize.minimize_scalar(gaussian, bounds=(0.1, 3), method="bounded")
    np.testing.assert_allclose(kl(leaf, priors.EmpiricalBayes()), best.fun, rtol=1e-5)
    scale = float(jnp.sqrt(jnp.mean(leaf.mean**2 + leaf.std**2)))
    ours, theirs = (
        jax.grad(kl)(leaf, prior) for prior in (priors.EmpiricalBayes(), priors.Gaussian(scale))
    )
    chex.assert_trees_all_close(ours, theirs, rtol=1e-4)
    with pytest.raises(InputError, match="EmpiricalBayes has no density"):
        priors.EmpiricalBayes().tree_log_prob({"w": jnp.ones(3)})


# Divergence


@pytest.mark.parametrize("prior", EXACT)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.3, 0.2), (-2.0, 0.05), (0.01, 3.0)])
def test_closed_forms_meet_quadrature(prior, mean, std):
    with jax.enable_x64(True):
        leaf = Gaussian(jnp.asarray(mean), inverse_softplus(jnp.asarray(std)))
        assert float(prior.kl(leaf)) == pytest.approx(quadrature_kl(prior, mean, std), abs=1e-6)


def monte_carlo_kl(prior, leaf, shape):
    keys = jax.random.split(jax.random.key(0), shape)
    draw = lambda key: priors.Prior.kl(prior, leaf, key).sum()
    for _ in shape:
        draw = jax.vmap(draw)
    return np.asarray(jax.jit(draw)(keys), np.float64)


@pytest.mark.parametrize("prior", EXACT)
def test_the_estimate_meets_the_closed_form_at_one_over_root_samples(prior):
    leaf = Gaussian(jnp.array([0.5, -1.0, 0.0]), jnp.array([-1.0, 0.0, 1.0]))
    exact = float(kl(leaf, prior))
    draws = monte_carlo_kl(prior, leaf, (256, 1024))
    assert abs(draws.mean() - exact) < 4 * draws.std() / draws.size**0.5

    def error(num_samples):
        means = draws[:, :num_samples].mean(1)
        return np.sqrt(np.mean((means - exact) ** 2))

    # 256 repetitions know a root mean square to 4.4 %, a ratio of two to 6.3 %.
    assert error(16) / error(1024) == pytest.approx(8, rel=4 * 0.063)


@pytest.mark.parametrize("prior", [*MIXTURES, *HEAVY_TAILS, priors.HierarchicalScale(1.7, 0.4)])
def test_the_estimate_meets_quadrature(prior):
    # Of one weight, the hierarchical prior is Student's t.
    is_joint = isinstance(prior, priors.HierarchicalScale)
    alone = priors.StudentT(3.4, (0.4 / 1.7) ** 0.5) if is_joint else prior
    draws = monte_carlo_kl(prior, mean_field(jnp.asarray(0.3), scale=0.2), (20_000,))
    exact = quadrature_kl(alone, 0.3, 0.2)
    assert abs(draws.mean() - exact) < 4 * draws.std() / draws.size**0.5


def test_a_joint_density_counts_once():
    leaf = mean_field(jnp.array([[0.3, -0.1], [1.0, 0.0]]), scale=0.2)
    prior, key = priors.HierarchicalScale(1.7, 0.4), jax.random.key(0)
    w = leaf.sample(key)
    expected = leaf.log_prob(w).sum() - prior.log_prob(w)
    np.testing.assert_allclose(prior.kl(leaf, key), expected, rtol=1e-6)


def test_a_key_is_asked_for_where_it_is_needed():
    q = mean_field({"w": jnp.zeros(3)})
    with pytest.raises(InputError, match=r"KL to ScaleMixture\(.* has no closed form: `key` must"):
        kl(q, priors.ScaleMixture())
    assert jnp.isfinite(kl(q, priors.ScaleMixture(), jax.random.key(0)))
    assert kl(q, priors.Gaussian()) == kl(q, priors.Gaussian(), jax.random.key(0))


def test_a_prior_of_ones_own_needs_a_log_prob_only():
    class Logistic(priors.Prior):
        def log_prob(self, w):
            return -w - 2 * jax.nn.softplus(-w)

    q = mean_field(jnp.zeros(()), scale=1.0)
    draws = monte_carlo_kl(Logistic(), q, (20_000,))
    w = np.linspace(-10, 10, 100_001)
    log_q = scipy.stats.norm.logpdf(w)
    exact = np.trapezoid(np.exp(log_q) * (log_q - scipy.stats.logistic.logpdf(w)), w)
    assert abs(draws.mean() - exact) < 4 * draws.std() / draws.size**0.5
    with pytest.raises(NotImplementedError, match="Prior has no density of its own"):
        priors.Prior().log_prob(jnp.zeros(1))


@pytest.mark.nan
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: priors.Gaussian(scale=0.0), "`scale` must be above 0 and finite, got 0.0"),
        (
            lambda: priors.Gaussian(scale=float("nan")),
            "`scale` must be above 0 .*, got nan",
        ),
        (lambda: priors.ScaleMixture(pi=0.0), "`pi` must be between 0 and 1, got 0.0"),
        (lambda: priors.ScaleMixture(pi=1.0), "`pi` must be between 0 and 1, got 1.0"),
        (lambda: priors.ScaleMixture(scale1=-1.0), "`scale1` must be above 0 and finite, got -1"),
        (lambda: priors.ScaleMixture(scale2=0.0), "`scale2` must be above 0 and finite, got 0"),
        (
            lambda: priors.Gaussian(scale=float("inf")),
            "`scale` must be above 0 .*, got inf",
        ),
        (lambda: priors.Gaussian(mean=float("nan")), "`mean` must be finite, got nan"),
        (lambda: priors.Laplace(float("inf")), "`scale` must be above 0 .*, got inf"),
        (lambda: priors.Laplace(-1.0), "`scale` must be above 0 and finite, got -1"),
        (lambda: priors.Cauchy(0.0), "`scale` must be above 0 and finite, got 0"),
        (lambda: priors.StudentT(0.0), "`df` must be above 0 and finite, got 0"),
        (lambda: priors.HorseshoeLike(0.0), "`scale` must be above 0 and finite, got 0"),
        (lambda: priors.HierarchicalScale(1.0, 0.0), "`rate` must be above 0 and finite, got 0"),
        (lambda: priors.FanIn(0.0), "`scale` must be above 0 and finite, got 0"),
        (
            lambda: priors.CentredOn({}, relative=-0.1),
            "`relative` must be at least 0",
        ),
    ],
)
def test_parameters_out_of_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


# Half precision, and standard deviations that underflow

CLOSED_FORMS = [
    priors.Gaussian(1.0),
    priors.Laplace(1.0),
    priors.EmpiricalBayes(),
    priors.as_prior(numpyro.distributions.Normal(0.0, 1.0)),
    priors.ScaleMixture(),
]


@pytest.mark.parametrize("prior", CLOSED_FORMS, ids=lambda prior: type(prior).__name__)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_the_kl_of_many_half_precision_weights_is_that_of_the_same_numbers(prior, dtype):
    q = mean_field({"w": jnp.full(40_000, 0.5, dtype)}, scale=0.01)
    wide = mean_field({"w": jnp.full(40_000, 0.5, jnp.float32)}, scale=0.01)
    wide = {"w": replace(wide["w"], rho=q["w"].rho.astype(jnp.float32))}
    assert kl(q, prior, jax.random.key(0)).dtype == jnp.float32
    np.testing.assert_allclose(
        kl(q, prior, jax.random.key(0)), kl(wide, prior, jax.random.key(0)), rtol=1e-4
    )


def test_the_density_of_many_half_precision_weights():
    w = jnp.full(40_000, 3.0, jnp.float16)
    expected = 40_000 * (-0.5 * 9 - 0.5 * np.log(2 * np.pi))
    assert priors.Gaussian().tree_log_prob({"w": w}) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("prior", CLOSED_FORMS, ids=lambda prior: type(prior).__name__)
@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_a_scale_that_underflows_has_a_finite_kl_and_gradient(prior, mean):
    def divergence(leaf):
        return kl({"w": leaf}, prior, jax.random.key(0))

    leaf = Gaussian(jnp.full(3, mean, jnp.float32), jnp.full(3, -120.0, jnp.float32))
    assert (leaf.std == 0).all()
    value, gradient = jax.value_and_grad(divergence)(leaf)
    assert jnp.isfinite(value)
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_the_kl_of_a_scale_that_underflows_is_exact():
    """KL(N(m, s²) ‖ N(0, 1)) → ½(m² − 1) − log s, and log softplus(ρ) → ρ."""
    leaf = Gaussian(jnp.array([2.0]), jnp.array([-120.0]))
    assert kl({"w": leaf}, priors.Gaussian()) == pytest.approx(1.5 + 120)
    slope = jax.grad(lambda leaf: kl({"w": leaf}, priors.Gaussian()))(leaf)
    assert slope.rho == pytest.approx(-1)


@pytest.mark.parametrize("w", [jnp.arange(3), jnp.array([True]), jax.random.key(0), "x"])
def test_weights_that_are_not_floating_point_are_refused_by_path(w):
    with pytest.raises(InputError, match=r"must hold floating-point arrays, got .* at 'a/w'"):
        priors.Gaussian().tree_log_prob({"a": {"w": w}})
