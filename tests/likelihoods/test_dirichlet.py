import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from jaxtyping import TypeCheckError

import jfractal as jf

KEY = jax.random.key(0)
LIKELIHOOD = jf.likelihoods.Dirichlet()


def drawn(alpha, number, seed=0):
    return np.random.default_rng(seed).dirichlet(alpha, size=number)


def test_the_likelihood_is_the_mean_log_density_of_the_draws():
    outputs = np.random.default_rng(1).normal(size=(4, 3))
    draws = np.stack([drawn([1.0, 2.0, 0.5], 7, seed) for seed in range(4)])
    expected = [
        np.mean([scipy.stats.dirichlet(np.exp(a)).logpdf(p) for p in of_one])
        for a, of_one in zip(outputs, draws, strict=True)
    ]
    value = LIKELIHOOD.log_likelihood(jnp.asarray(outputs), jnp.asarray(np.log(draws).mean(1)))
    np.testing.assert_allclose(value, expected, rtol=1e-4)


@pytest.mark.parametrize("alpha", [[0.3, 0.5, 2.0], [30.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
def test_a_prediction_has_the_entropies_of_its_draws(alpha):
    """Against the mixture of 200,000 draws."""
    p = LIKELIHOOD.prediction(jnp.log(jnp.asarray([alpha])))
    draws = drawn(alpha, 200_000)
    entropy = scipy.stats.entropy(draws, axis=1)
    np.testing.assert_allclose(p.probs[0], draws.mean(0), atol=3e-3)
    np.testing.assert_allclose(p.aleatoric[0], entropy.mean(), atol=3e-3)
    mutual = scipy.stats.entropy(draws.mean(0)) - entropy.mean()
    np.testing.assert_allclose(p.epistemic[0], mutual, atol=3e-3)


def test_a_net_learns_where_draws_disagree():
    """Two inputs of the same mean probabilities, whose draws spread widely and hardly at all."""
    alphas = np.array([[2.0, 1.0, 1.0], [40.0, 20.0, 20.0]])
    targets = jnp.asarray([np.log(drawn(a, 20_000)).mean(0) for a in alphas], jnp.float32)
    student = jf.Model(
        lambda variables, x: x @ variables["params"]["w"],
        prior=jf.priors.Gaussian(100.0),
        likelihood=LIKELIHOOD,
    )
    method = jf.maximum_a_posteriori(student, optax.adam(0.05))
    x = jnp.eye(2)
    fit = jf.fit(method, {"w": jnp.zeros((2, 3))}, (x, targets), KEY, num_steps=600)
    np.testing.assert_allclose(jnp.exp(fit.posterior.mean()["w"]), alphas, rtol=0.05)
    p = jf.predict(student, fit.posterior, x, KEY, num_samples=1)
    np.testing.assert_allclose(p.probs[0], p.probs[1], atol=0.01)
    assert p.epistemic[0] > 10 * p.epistemic[1]
    assert fit.history["agreement"][-1] == 1


@pytest.mark.parametrize(
    "targets", [jnp.array([[0.5, -1.0]]), jnp.array([[-jnp.inf, 0.0]]), jnp.zeros((1, 3))]
)
def test_bad_targets(targets):
    with pytest.raises((jf.InputError, TypeCheckError), match="targets"):
        LIKELIHOOD.log_likelihood(jnp.zeros((1, 2)), targets)


@pytest.mark.nan
def test_traced_bad_targets_are_nan():
    value = jax.jit(LIKELIHOOD.log_likelihood)(jnp.zeros((1, 2)), jnp.array([[0.5, -1.0]]))
    assert np.isnan(value)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_bad_outputs(shape):
    with pytest.raises((jf.InputError, TypeCheckError), match=r"at least 2 classes|outputs"):
        LIKELIHOOD.prediction(jnp.zeros(shape))
