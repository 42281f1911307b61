from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jfractal.metrics import (
    aleatoric_entropy,
    epistemic_entropy,
    gaussian_mixture_log_prob,
    joint_log_prob,
    mean_log_probs,
    mixture_moments,
    total_entropy,
)


@pytest.fixture
def probs():
    return np.random.default_rng(0).dirichlet(np.ones(3), size=(5, 7))


def test_entropies_meet_scipy(run, probs):
    log_probs = jnp.log(probs)
    total = stats.entropy(probs.mean(0), axis=-1)
    aleatoric = stats.entropy(probs, axis=-1).mean(0)
    np.testing.assert_allclose(
        run(mean_log_probs)(log_probs), np.log(probs.mean(0)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(run(total_entropy)(log_probs), total, rtol=1e-5)
    np.testing.assert_allclose(run(aleatoric_entropy)(log_probs), aleatoric, rtol=1e-5)
    np.testing.assert_allclose(
        run(epistemic_entropy)(log_probs), total - aleatoric, rtol=1e-4, atol=1e-6
    )


def test_shares_of_the_mixture_meet_scipy(run, probs):
    shares = np.random.default_rng(1).dirichlet(np.ones(5))
    log_probs, log_weights = jnp.log(probs), jnp.log(shares)
    mixture = np.tensordot(shares, probs, 1)
    total = stats.entropy(mixture, axis=-1)
    aleatoric = shares @ stats.entropy(probs, axis=-1)
    for function, expected in (
        (mean_log_probs, np.log(mixture)),
        (total_entropy, total),
        (aleatoric_entropy, aleatoric),
        (epistemic_entropy, total - aleatoric),
    ):
        np.testing.assert_allclose(
            run(function)(log_probs, log_weights), expected, rtol=1e-4, atol=1e-6
        )


def test_joint_log_prob_meets_the_product(run, probs):
    labels = np.random.default_rng(2).integers(0, 3, 7)
    shares = np.random.default_rng(1).dirichlet(np.ones(5))
    products = probs[:, np.arange(7), labels].prod(1)
    actual = run(joint_log_prob)(jnp.log(probs), labels)
    assert actual == pytest.approx(np.log(products.mean()), rel=1e-5)
    actual = run(joint_log_prob)(jnp.log(probs), labels, jnp.log(shares))
    assert actual == pytest.approx(np.log(shares @ products), rel=1e-5)


def test_joint_log_prob_knows_that_labels_hang_together():
    # Both draws are sure, of opposite worlds; the marginals are those of two coins.
    together = jnp.log(jnp.array([[[1.0, 0.0]] * 2, [[0.0, 1.0]] * 2]))
    assert joint_log_prob(together, jnp.array([0, 0])) == pytest.approx(np.log(1 / 2))
    assert joint_log_prob(together, jnp.array([0, 1])) == -np.inf
    coins = jnp.log(jnp.full((2, 2, 2), 0.5))
    assert joint_log_prob(coins, jnp.array([0, 1])) == pytest.approx(np.log(1 / 4))


def test_two_draws_that_are_sure_of_different_classes_leave_one_bit(run):
    log_probs = jnp.log(jnp.array([[[1.0, 0.0]], [[0.0, 1.0]]]))
    assert run(total_entropy)(log_probs) == pytest.approx(np.log(2))
    assert run(aleatoric_entropy)(log_probs) == 0
    assert run(epistemic_entropy)(log_probs) == pytest.approx(np.log(2))


def test_draws_that_agree_have_no_epistemic_entropy(run, probs):
    log_probs = jnp.log(jnp.broadcast_to(probs[0], probs.shape))
    epistemic = run(epistemic_entropy)(log_probs)
    assert jnp.all(epistemic >= 0)
    np.testing.assert_allclose(epistemic, 0, atol=1e-6)


def test_the_mean_stays_in_log_space():
    # exp(-300) and exp(-301) are 0 in float32.
    tiny = jnp.array([[-300.0, 0.0], [-301.0, 0.0]])
    expected = special.logsumexp([-300, -301]) - np.log(2)
    np.testing.assert_allclose(jax.jit(mean_log_probs)(tiny), [expected, 0], rtol=1e-6)


def test_law_of_total_variance_worked_by_hand(run):
    moments = run(mixture_moments)(jnp.array([[0.0], [2.0]]), jnp.array([[1.0], [3.0]]))
    assert [float(moment[0]) for moment in moments] == [1, 6, 5, 1]


def test_mixture_moments_are_those_of_its_density():
    rng = np.random.default_rng(1)
    means, scales = rng.normal(size=6), rng.uniform(0.5, 2, size=6)
    y = np.linspace(-15, 15, 3001)
    columns = np.broadcast_to(means[:, None], (6, y.size))
    log_density = jax.jit(gaussian_mixture_log_prob)(
        y, columns, np.broadcast_to(scales[:, None], (6, y.size))
    )
    weight = np.exp(np.asarray(log_density, np.float64)) * (y[1] - y[0])
    moments = jax.jit(mixture_moments)(means, scales)
    assert weight.sum() == pytest.approx(1, abs=1e-5)
    assert weight @ y == pytest.approx(float(moments.mean), abs=1e-4)
    assert weight @ y**2 - (weight @ y) ** 2 == pytest.approx(float(moments.total), rel=1e-4)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gaussian_mixture_meets_scipy(run, axis):
    rng = np.random.default_rng(2)
    means, scales = rng.normal(size=(5, 4, 3)), rng.uniform(0.1, 2, size=(5, 4, 3))
    y = rng.normal(size=means.mean(axis).shape)
    terms = stats.norm.logpdf(np.expand_dims(y, axis), means, scales)
    expected = special.logsumexp(terms, axis=axis) - np.log(means.shape[axis])
    log_prob = run(partial(gaussian_mixture_log_prob, axis=axis))
    np.testing.assert_allclose(log_prob(y, means, scales), expected, rtol=1e-4, atol=1e-5)


def test_a_far_target_has_a_finite_log_density_and_gradient():
    log_prob = lambda y: gaussian_mixture_log_prob(y, jnp.array([0.0, 1.0]), jnp.ones(2))
    assert jax.jit(log_prob)(1000.0) == pytest.approx(stats.norm.logpdf(999) - np.log(2), rel=1e-6)
    assert jax.jit(jax.grad(log_prob))(1000.0) == pytest.approx(-999, rel=1e-6)


@pytest.mark.parametrize(
    "function", [mean_log_probs, total_entropy, aleatoric_entropy, epistemic_entropy]
)
@pytest.mark.parametrize("shape", [(3,), (0, 2, 3), (4, 2, 0)])
def test_log_probs_without_their_axes_are_refused(refused, function, shape):
    with refused("log_probs"):
        function(jnp.zeros(shape))


def test_shares_that_do_not_match_are_refused(refused):
    with refused("log_weights"):
        total_entropy(jnp.full((3, 2, 2), jnp.log(0.5)), jnp.full(2, jnp.log(0.5)))


def test_mixtures_that_do_not_match_are_refused(refused):
    means = jnp.zeros((3, 2))
    with refused("scales"):
        mixture_moments(means, jnp.ones(2))
    with refused("means"):
        mixture_moments(means[:0], means[:0])
    with refused("y"):
        gaussian_mixture_log_prob(jnp.zeros(3), means, jnp.ones((3, 2)))
