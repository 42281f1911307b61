import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from tests.inference.conftest import NOISE, PRIOR, flat


def fit(problem, log_joint=None, **options):
    valid = {"learning_rate": 0.1, "num_steps": 1}
    return jf.ivon(
        log_joint or problem.log_joint, problem.init, jax.random.key(0), **{**valid, **options}
    )


def test_one_step_by_hand(problem):
    """With many draws: gradient and curvature are those of the quadratic, at the start."""
    n, beta2, rate = len(problem.x), 0.9, 0.1
    q = fit(problem, num_samples=200_000, beta2=beta2, learning_rate=rate)
    key_init, _ = jax.random.split(jax.random.key(0))
    start = flat(problem.init(key_init))

    delta = 1 / (n * PRIOR**2)
    likelihood = problem.precision - np.eye(3) / PRIOR**2
    target = problem.precision @ problem.mean
    gradient = (likelihood @ start - target) / n
    change = (1 - beta2) * (np.diag(likelihood) / n - 1.0)
    h = 1.0 + change + change**2 / (2 * (1.0 + delta))
    mean = start - rate * (1 + delta) * (gradient + delta * start) / (h + delta)

    np.testing.assert_allclose(flat(jf.mean(q.params)), mean, rtol=0.01)
    std = flat({name: leaf.std for name, leaf in q.params.items()})
    np.testing.assert_allclose(std, 1 / np.sqrt(n * (h + delta)), rtol=0.01)


def test_temperature(problem):
    """A cold posterior is narrower by its root, as that of the tempered log joint is."""
    options = {"num_samples": 8, "num_steps": 2500, "learning_rate": 0.05}
    q = fit(problem, kl_weight=0.25, **options)
    std = flat({name: leaf.std for name, leaf in q.params.items()})
    gram = problem.design.T @ problem.design
    exact = 1 / np.sqrt(4 * np.diag(gram) / NOISE**2 + 1 / PRIOR**2)
    np.testing.assert_allclose(std, exact, rtol=0.1)


@pytest.mark.parametrize(
    "prior",
    [
        jf.priors.FanIn(),
        jf.priors.ByPath([("*bias", jf.priors.Gaussian(10.0))], default=jf.priors.FanIn()),
    ],
)
def test_a_prior_is_gaussian_at_every_leaf(problem, prior):
    p = problem.log_joint
    q = fit(problem, jf.LogJoint(p.apply, p.data, prior, p.likelihood))
    assert jnp.isfinite(q.params["kernel"].std).all()


@pytest.mark.parametrize(
    "prior",
    [
        jf.priors.Laplace(),
        jf.priors.ByPath([("*bias", jf.priors.Laplace())], default=jf.priors.Gaussian()),
    ],
)
def test_other_priors_are_refused(problem, prior):
    p = problem.log_joint
    with pytest.raises(jf.InputError, match="must be Gaussian for IVON"):
        fit(problem, jf.LogJoint(p.apply, p.data, prior, p.likelihood))


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
        fit(problem, **options)
