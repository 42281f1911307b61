"""Every method is put to an exact posterior, as far as its family of distributions can meet it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg

import jfractal as jf
from jfractal.testing import Moments, assert_covariance, assert_mean, draws_of
from jfractal.training import scan
from tests.inference.conftest import NOISE, PRIOR, flat

KEY = jax.random.key(2)
RATE = 0.02  # of the Markov chains: their steps are so long that the discretisation shows
MOMENTUM = 0.7
DROPPED = 0.2


def point(p):
    return p.mean, np.zeros((3, 3))


def mean_field(p):
    """The minimum of KL(q ‖ p) over diagonal Gaussians: variances of a weight given the others."""
    return p.mean, np.diag(1 / np.diag(p.precision))


def langevin(p):
    """Stationary moments of its linear recursion, which are exact for any step size."""
    shrink = np.eye(3) - RATE * p.precision / (2 * len(p.x))
    return p.mean, p.covariance @ np.linalg.inv(shrink)


def hamiltonian(p):
    """The same for the pair of weights and velocities, by Lyapunov's equation."""
    pull, one = RATE * p.precision / len(p.x), np.eye(3)
    step = np.block([[one - pull, MOMENTUM * one], [-pull, MOMENTUM * one]])
    noise = 2 * (1 - MOMENTUM) * RATE / len(p.x) * np.kron(np.ones((2, 2)), one)
    return p.mean, scipy.linalg.solve_discrete_lyapunov(step, noise)[:3, :3]


def exact(p):
    return p.mean, p.covariance


def ridge(p):
    """Expectations over masks: a ridge on the kernel, whose weights then flicker around it."""
    odds = DROPPED / (1 - DROPPED)
    gram = p.design.T @ p.design
    is_kernel = np.array([0.0, 1.0, 1.0])
    penalty = odds * np.diag(is_kernel * np.diag(gram)) / NOISE**2
    prior = np.diag(1 + odds * is_kernel) / PRIOR**2
    target = p.design.T @ np.asarray(p.y[:, 0], np.float64) / NOISE**2
    mean = np.linalg.solve(gram / NOISE**2 + penalty + prior, target)
    return mean, odds * np.diag(is_kernel * mean**2)


@dataclass(frozen=True)
class Case:
    """A method, the moments that its family can have, and how far its optimisation may stop short.

    `slack` is in standard deviations of the posterior or of the family, whichever is wider, and for
    covariances in products of two. Of chains on batches, which have the noise of gradients beside
    their own at a rate by hand, only the mean is known.
    """

    method: Callable[[jf.Model, int], jf.Method]
    family: Callable[[Any], tuple[np.ndarray, np.ndarray]]
    num_steps: int = 1500
    slack: float = 1e-3
    is_chain: bool = False

    def fit(self, problem, num_steps, batch_size):
        """The posterior after some steps, as a pure function."""
        method = self.method(problem.model, num_steps)
        options = {"num_steps": num_steps, "batch_size": batch_size}
        return scan(method, problem.start, problem.data, KEY, **options)[0]


def falling(rate, num_steps):
    """A rate that brings a quadratic to its minimum in float32."""
    return optax.cosine_decay_schedule(rate, num_steps)


def maximum_a_posteriori(model, num_steps):
    return jf.maximum_a_posteriori(model, optax.sgd(falling(0.1, num_steps)))


def variational(model, num_steps):
    optimizer = optax.adam(falling(0.05, num_steps))
    return jf.variational(model, optimizer, num_samples=8, scale=0.3)


def ivon(model, num_steps):
    return jf.ivon(model, learning_rate=falling(0.1, num_steps), num_samples=8)


def mc_dropout(model, num_steps):
    optimizer = optax.sgd(falling(0.03, num_steps))
    return jf.mc_dropout(model, optimizer, rate=DROPPED, num_samples=10)


def chain(num_steps):
    warmup = min(500, num_steps // 2)
    draws = (num_steps - warmup) // 10
    return {"learning_rate": RATE, "num_warmup": warmup, "num_draws": draws, "thinning": 10}


def sgld(model, num_steps):
    return jf.ensemble(jf.sgld(model, **chain(num_steps)), 4)


def sghmc(model, num_steps):
    return jf.ensemble(jf.sghmc(model, momentum=MOMENTUM, **chain(num_steps)), 4)


def searching(num_steps):
    warmup = num_steps // 4
    return {"num_warmup": warmup, "num_draws": (num_steps - warmup) // 10, "thinning": 10}


def sgld_found(model, num_steps):
    return jf.ensemble(jf.sgld(model, **searching(num_steps)), 4)


def sghmc_found(model, num_steps):
    return jf.ensemble(jf.sghmc(model, momentum=MOMENTUM, **searching(num_steps)), 4)


def smile(model, num_steps):
    return jf.ensemble(jf.smile(model, **searching(num_steps)), 4)


CASES = {
    "maximum_a_posteriori": Case(maximum_a_posteriori, point),
    "variational": Case(variational, mean_field, num_steps=2500, slack=0.15),
    "ivon": Case(ivon, mean_field, num_steps=2500, slack=0.15),
    "ensemble": Case(lambda *args: jf.ensemble(ivon(*args), 2), mean_field, 2500, slack=0.15),
    "mc_dropout": Case(mc_dropout, ridge, num_steps=10_000, slack=0.05),
    "sgld": Case(sgld, langevin, num_steps=10_500, is_chain=True),
    "sghmc": Case(sghmc, hamiltonian, num_steps=10_500, is_chain=True),
    "sgld, found": Case(sgld_found, exact, num_steps=8000, slack=0.15),
    "sghmc, found": Case(sghmc_found, exact, num_steps=8000, slack=0.15),
    "smile": Case(smile, exact, num_steps=8000, slack=0.15),
}


def unit_of(p, moments):
    """Standard deviations of the posterior or of the family, whichever are larger."""
    return np.maximum(p.exact.std, moments.std)


@pytest.mark.parametrize("batch_size", [None, 10])
@pytest.mark.parametrize("name", CASES)
def test_methods_meet_the_exact_posterior(problem, name, batch_size):
    case = CASES[name]
    posterior = jax.jit(lambda: case.fit(problem, case.num_steps, batch_size))()
    draws = draws_of(posterior, jax.random.key(5))
    expected = Moments(*case.family(problem))
    slack = case.slack if batch_size is None else max(case.slack, 0.1)
    unit = unit_of(problem, expected)
    assert_mean(draws, expected, slack=slack * unit)
    if not (case.is_chain and batch_size):
        assert_covariance(draws, expected, slack=slack * np.outer(unit, unit))


def test_the_mean_field_optimum_is_not_the_marginal_posterior(problem):
    """Else the tests above could not tell one from the other."""
    _, optimum = mean_field(problem)
    assert np.all(np.diag(optimum) < 0.98 * np.diag(problem.covariance))


@pytest.mark.parametrize("name", CASES)
def test_methods_are_vmapped_over_data_sets(problem, name):
    """As over the splits of a set: then the data are traced."""
    data_sets = jnp.stack([problem.y, problem.y + 1])

    def fit(y):
        return CASES[name].fit(replace(problem, y=y), 20, 10)

    both = jax.jit(jax.vmap(fit))(data_sets)
    alone = jax.jit(fit)(data_sets[1])
    of_both = jax.tree.map(lambda x: x[1], both)
    chex.assert_trees_all_close(of_both, alone, rtol=1e-3, atol=1e-3)


def test_log_joint_is_the_quadratic_of_the_exact_posterior(problem):
    params = problem.start(jax.random.key(0))
    d = flat(params) - problem.mean
    at = {
        "kernel": jnp.asarray(problem.mean[1:, None], jnp.float32),
        "bias": jnp.asarray(problem.mean[:1], jnp.float32),
    }
    model, data = problem.model, problem.data
    difference = model.log_joint(params, data) - model.log_joint(at, data)
    np.testing.assert_allclose(difference, -0.5 * d @ problem.precision @ d, rtol=1e-4)
