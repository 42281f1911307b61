import jax
import numpy as np
import optax
import pytest

import jfractal as jf
from tests.inference.conftest import flat

OPTIONS = {"optimizer": optax.sgd(0.1), "num_steps": 1}


def test_moments_are_those_of_gradient_descent(problem):
    """On all data the iterates are a linear recursion: Σ = ½ (diag(s²) + D Dᵀ / (K − 1))."""
    rate, num_samples, thinning, rank = 0.02, 8, 2, 5
    q = jf.swag(
        problem.log_joint,
        problem.init,
        jax.random.key(0),
        learning_rate=rate,
        num_samples=num_samples,
        thinning=thinning,
        rank=rank,
        **OPTIONS,
    )
    key_init, _ = jax.random.split(jax.random.split(jax.random.key(0))[0])
    w, pull = flat(problem.init(key_init)), problem.precision / len(problem.x)
    w = w - 0.1 * pull @ (w - problem.mean)
    path = []
    for _ in range(num_samples * thinning):
        w = w - rate * pull @ (w - problem.mean)
        path.append(w)
    iterates = np.array(path)[thinning - 1 :: thinning]
    mean = iterates.mean(0)
    d = (iterates[-rank:] - mean).T
    covariance = (np.diag(iterates.var(0)) + d @ d.T / (rank - 1)) / 2

    np.testing.assert_allclose(flat(q.mean), mean, rtol=1e-4, atol=1e-5)
    factors, std = flat(q.factors), flat(q.std)
    np.testing.assert_allclose(np.diag(std**2) + factors.T @ factors, covariance, rtol=1e-3)


def test_on_batches_it_is_centred_on_the_posterior(problem):
    """Its spread is that of gradient descent, which is not the posterior's."""
    q = jf.swag(
        problem.log_joint,
        problem.init,
        jax.random.key(0),
        optimizer=optax.sgd(0.1),
        num_steps=300,
        learning_rate=0.02,
        num_samples=1000,
        thinning=3,
        batch_size=10,
    )
    unit = np.sqrt(np.diag(problem.covariance))
    assert np.all(np.abs(flat(q.mean) - problem.mean) < 0.1 * unit)
    assert np.all(flat(q.std) > 0)


@pytest.mark.parametrize("rank", [1, 6])
def test_bad_rank(problem, rank):
    with pytest.raises(jf.InputError, match="rank"):
        jf.swag(
            problem.log_joint,
            problem.init,
            jax.random.key(0),
            learning_rate=0.1,
            num_samples=5,
            rank=rank,
            **OPTIONS,
        )
