import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from tests.inference.conftest import flat


@pytest.fixture(scope="module")
def chains(problem):
    return jf.nuts(
        problem.log_joint, problem.init, jax.random.key(4), num_warmup=200, num_samples=250
    )


def test_chains_are_a_posterior_like_any_other(problem, chains):
    outputs = jf.sample_outputs(
        problem.net.apply, chains, problem.x, jax.random.key(0), num_samples=2000
    )
    design = problem.design
    exact = np.sqrt(np.einsum("ni,ij,nj->n", design, problem.covariance, design))
    np.testing.assert_allclose(outputs[..., 0].std(0), exact, rtol=0.25)
    np.testing.assert_allclose(outputs[..., 0].mean(0), design @ problem.mean, atol=0.06)
    assert chains.outputs(problem.net.apply, problem.x).shape == (4, 250, 30, 1)


def test_draws_lie_chain_after_chain(chains):
    biases = chains.samples.params["bias"]
    np.testing.assert_array_equal(biases[250:500], chains.params["bias"][1])
    first_of_last_chain = chains.sample_at(0.75, jax.random.key(0))["params"]["bias"]
    np.testing.assert_array_equal(first_of_last_chain, chains.params["bias"][3, 0])


def test_one_chain(problem):
    chains = jf.nuts(
        problem.log_joint,
        problem.init,
        jax.random.key(4),
        num_chains=1,
        num_warmup=50,
        num_samples=40,
    )
    assert flat(chains.params).shape == (1, 40, 3)


@pytest.mark.parametrize(
    "options",
    [{"num_chains": 0}, {"num_samples": 0}, {"num_warmup": 0}, {"target_accept": 1.0}],
)
def test_bad_input(problem, options):
    with pytest.raises(jf.InputError, match=next(iter(options))):
        jf.nuts(problem.log_joint, problem.init, jax.random.key(0), **options)


def test_a_trajectory_has_a_length(problem):
    with pytest.raises(jf.InputError, match="trajectory_length"):
        jf.hmc(problem.log_joint, problem.init, jax.random.key(0), trajectory_length=0.0)


def test_a_start_without_density_is_refused(problem):
    with pytest.raises(jf.InputError, match="finite where the chains start"):
        jf.nuts(lambda w: jnp.log(-jnp.abs(w["bias"][0])), problem.init, jax.random.key(0))
