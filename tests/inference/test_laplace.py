import jax
import numpy as np
import optax
import pytest

import jfractal as jf

OPTIONS = {"optimizer": optax.sgd(0.1), "num_steps": 500}


def only_bias(path, leaf):
    return path == "bias"


@pytest.mark.parametrize("method", [jf.laplace, jf.diagonal_laplace])
def test_leaves_that_are_not_chosen_stay_at_the_maximum(problem, method):
    """The chosen one has the variance given the others, 1 / precision."""
    q = method(problem.log_joint, problem.init, jax.random.key(0), where=only_bias, **OPTIONS)
    keys = jax.random.split(jax.random.key(1), 10_000)
    draws = jax.jit(jax.vmap(q.sample))(keys)["params"]
    assert np.ptp(draws["kernel"], axis=0).max() == 0
    np.testing.assert_allclose(draws["kernel"][0, :, 0], problem.mean[1:], atol=1e-5)
    variance = 1 / problem.precision[0, 0]
    assert abs(draws["bias"].var() - variance) < 4 * variance * np.sqrt(2 / len(keys))


@pytest.mark.parametrize("method", [jf.laplace, jf.diagonal_laplace])
def test_bad_input(problem, method):
    start = problem.log_joint, problem.init, jax.random.key(0)
    with pytest.raises(jf.InputError, match=r"where.*\['bias', 'kernel'\]"):
        method(*start, where=lambda path, leaf: path == "head", **OPTIONS)
    with pytest.raises(jf.InputError, match="num_steps"):
        method(*start, optimizer=optax.sgd(0.1), num_steps=0)
