import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special, stats

import jfractal as jf
from jfractal import posterior

LOGITS = jnp.array([0.3, -1.2, 2.0])


def test_probabilities_are_the_softmax():
    routes = jf.Routes(LOGITS)
    np.testing.assert_allclose(routes.probs, special.softmax(LOGITS), rtol=1e-6)
    np.testing.assert_allclose(routes.log_probs, special.log_softmax(LOGITS), rtol=1e-6)


@pytest.mark.parametrize("probs", [(0.2, 0.5, 0.3), (1.0,)])
def test_made_of_probabilities_it_has_them(probs):
    np.testing.assert_allclose(jf.Routes.of(probs).probs, probs, rtol=1e-6)


def test_kl_meets_scipy():
    prior = jf.Routes.of((0.2, 0.5, 0.3))
    expected = stats.entropy(special.softmax(LOGITS), [0.2, 0.5, 0.3])
    assert jf.Routes(LOGITS).kl(prior) == pytest.approx(expected, rel=1e-5)
    assert prior.kl(prior) == pytest.approx(0, abs=1e-6)


def test_all_mass_on_one_of_three_routes_is_log_3_nats_from_uniform():
    sure = jf.Routes(jnp.array([0.0, 500.0, 0.0]))  # the others underflow to 0
    kl, gradient = jax.value_and_grad(lambda q: q.kl(jf.Routes.uniform(3)))(sure)
    assert kl == pytest.approx(np.log(3), rel=1e-6)
    assert jnp.isfinite(gradient.logits).all()


def test_lies_in_a_tree_of_weights_that_others_leave_alone():
    weights = {"kernel": jnp.ones((2, 2))}
    params = jf.mean_field({**weights, "routes": jf.Routes(LOGITS)}, scale=0.5)
    for tree in (params, posterior.sample(params, jax.random.key(0)), posterior.mean(params)):
        np.testing.assert_array_equal(tree["routes"].logits, LOGITS)


def test_is_its_own_part_of_the_kl_and_of_the_log_prior():
    weights, routes = {"kernel": jnp.ones((2, 2))}, jf.Routes(LOGITS)
    prior, kl = jf.priors.Gaussian(1.0), float(routes.kl(jf.Routes.uniform(3)))
    params = jf.mean_field({**weights, "routes": routes}, scale=0.5)
    by_leaf = jf.kl_by_leaf(params, prior)
    assert by_leaf["routes"] == pytest.approx(kl, rel=1e-6)
    assert by_leaf["kernel"] == jf.kl(jf.mean_field(weights, scale=0.5), prior)
    of_weights = float(prior.tree_log_prob(weights))
    log_prior = prior.tree_log_prob({**weights, "routes": routes})
    assert log_prior == pytest.approx(of_weights - kl, rel=1e-6)


def test_a_mask_of_kernels_spares_the_logits():
    params = {"kernel": jnp.ones((2, 2)), "routes": jf.Routes(LOGITS)}
    decay = optax.add_decayed_weights(0.1, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p))
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = decay.update(zero, decay.init(params), params)
    assert (updates["kernel"] == 0.1).all() and (updates["routes"].logits == 0).all()


@pytest.mark.parametrize("probs", [(), (0.5, 0.4), (1.0, 0.0), (1.5, -0.5)])
def test_what_is_no_distribution_is_refused(probs):
    with pytest.raises(jf.InputError, match="`probs` must be one or more numbers above 0"):
        jf.Routes.of(probs)


def test_there_must_be_a_route():
    with pytest.raises(jf.InputError, match="`num_routes` must be at least 1, got 0"):
        jf.Routes.uniform(0)
