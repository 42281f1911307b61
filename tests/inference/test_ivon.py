from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal.training import scan
from tests.inference.conftest import NOISE, PRIOR, flat


def std_of(posterior):
    return flat(jax.tree.map(jnp.sqrt, posterior.variance()))


def test_one_step_by_hand(problem):
    """With many draws: gradient and curvature are those of the quadratic, at the start."""
    n, beta2, rate = len(problem.x), 0.9, 0.1
    method = jf.ivon(problem.model, learning_rate=rate, num_samples=200_000, beta2=beta2)
    params = problem.start(jax.random.key(0))
    state = method.init(params, jax.random.key(1))
    state, info = jax.jit(method.update)(state, problem.data, jax.random.key(2))
    start = flat(params)

    delta = 1 / (n * PRIOR**2)
    likelihood = problem.precision - np.eye(3) / PRIOR**2
    target = problem.precision @ problem.mean
    gradient = (likelihood @ start - target) / n
    change = (1 - beta2) * (np.diag(likelihood) / n - 1.0)
    h = 1.0 + change + change**2 / (2 * (1.0 + delta))
    mean = start - rate * (1 + delta) * (gradient + delta * start) / (h + delta)

    q = method.posterior(state)
    np.testing.assert_allclose(flat(q.mean()), mean, rtol=0.01)
    np.testing.assert_allclose(std_of(q), 1 / np.sqrt(n * (h + delta)), rtol=0.01)
    at_start = problem.model.log_likelihood({"params": params}, problem.data).mean()
    assert float(info["nll"]) > -float(at_start)  # a quadratic is higher around its mean than there


def test_temperature(problem):
    """A cold posterior is narrower by its root, as that of the tempered log joint is."""
    method = jf.ivon(problem.model, learning_rate=0.05, num_samples=8, kl_weight=0.25)
    fit = lambda key: scan(method, problem.start, problem.data, key, num_steps=2500)[0]
    gram = problem.design.T @ problem.design
    exact = 1 / np.sqrt(4 * np.diag(gram) / NOISE**2 + 1 / PRIOR**2)
    np.testing.assert_allclose(std_of(jax.jit(fit)(jax.random.key(0))), exact, rtol=0.1)


def test_a_batch_stands_for_all_of_the_data(problem):
    """One example in a batch of a thousand data: λ = N / kl_weight, not the size of the batch."""
    method = jf.ivon(problem.model, learning_rate=0.1, kl_weight=0.5)
    state = method.init(problem.start(jax.random.key(0)), jax.random.key(1))
    batch = jax.tree.map(lambda a: a[:1], problem.data)
    state, _ = method.update(state, batch, jax.random.key(2), num_data=1000)
    expected = 1 / np.sqrt(2000 * flat(state.hessian) + 1 / PRIOR**2)
    np.testing.assert_allclose(std_of(method.posterior(state)), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "prior",
    [
        jf.priors.FanIn(),
        jf.priors.ByPath([("*bias", jf.priors.Gaussian(10.0))], default=jf.priors.FanIn()),
    ],
)
def test_a_prior_is_gaussian_at_every_leaf(problem, prior):
    """λδ is the precision of the prior, leaf by leaf."""
    method = jf.ivon(replace(problem.model, prior=prior), learning_rate=0.1)
    state = method.init(problem.start(jax.random.key(0)), jax.random.key(1))
    state, _ = jax.jit(method.update)(state, problem.data, jax.random.key(2))
    q = method.posterior(state)
    for path, leaf in q.params.items():
        scale = prior.at(path, leaf.mean.shape).scale
        precision = len(problem.x) * state.hessian[path] + 1 / scale**2
        np.testing.assert_allclose(leaf.std, 1 / np.sqrt(precision), rtol=1e-5)


@pytest.mark.parametrize(
    "prior",
    [
        jf.priors.Laplace(),
        jf.priors.ByPath([("*bias", jf.priors.Laplace())], default=jf.priors.Gaussian()),
    ],
)
def test_other_priors_are_refused(problem, prior):
    method = jf.ivon(replace(problem.model, prior=prior), learning_rate=0.1)
    with pytest.raises(jf.InputError, match="must be Gaussian for IVON"):
        method.init(problem.start(jax.random.key(0)), jax.random.key(1))


@pytest.mark.parametrize(
    "options",
    [
        {"num_samples": 0},
        {"num_samples": 1.5},
        {"kl_weight": 0.0},
        {"hessian_init": 0.0},
        {"beta1": 1.0},
        {"beta2": -0.1},
        {"learning_rate": -1.0},
    ],
)
def test_bad_input(problem, options):
    with pytest.raises(jf.InputError, match=next(iter(options))):
        jf.ivon(problem.model, **{"learning_rate": 0.1, **options})
