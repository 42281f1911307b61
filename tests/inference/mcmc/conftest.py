"""Targets of Markov chains, and where they start."""

import jax.numpy as jnp
import pytest

import jfractal as jf


def prior_alone(prior):
    """A model and data that say nothing of the weights: the posterior is the prior."""
    model = jf.Model(lambda variables, x: x, prior=prior, likelihood=jf.likelihoods.Gaussian(1.0))
    return model, (jnp.zeros((2, 1)), jnp.zeros((2, 1)))


def prior_of(scales):
    """Gaussian weights, each of its own standard deviation."""
    rules = [(name, jf.priors.Gaussian(scale)) for name, scale in scales.items()]
    return jf.priors.ByPath(rules, jf.priors.Gaussian())


@pytest.fixture(scope="session")
def target(problem):
    """The model and data of the conjugate regression."""
    return problem.model, problem.data
