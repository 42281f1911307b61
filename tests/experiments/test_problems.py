from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from experiments._problems import DataConfig, ModelConfig, problems

EVERY = problems(DataConfig(num_train=20, num_test=10, table="diabetes"), ModelConfig())


@pytest.mark.parametrize("name", EVERY)
def test_a_problem_can_be_sampled(name):
    problem = EVERY[name]()
    params = problem.start(jax.random.key(0))
    assert problem.num_params == sum(w.size for w in jax.tree.leaves(params))
    assert jnp.isfinite(problem.model.log_joint(params, problem.data))
    assert problem.net.apply({"params": params}, problem.x_test).shape[0] == len(problem.y_test)


def test_the_perceptron_is_as_large_as_the_fractal_net():
    fractal, perceptron = (EVERY[name]().num_params for name in ("dense fractal", "perceptron"))
    assert perceptron == pytest.approx(fractal, rel=0.03)


def test_the_published_reference_is_of_this_problem():
    problem = problems(DataConfig(), ModelConfig())["dense fractal"]()
    table = Path(__file__).parents[2] / "docs" / "references" / "digits_dense_fractal.csv"
    probs = jf.reference.load_probs(table)
    labels = np.asarray(problem.y_test)
    assert probs.shape == (len(labels), 10)
    assert np.mean(probs.argmax(-1) == labels) == pytest.approx(0.9167, abs=1e-4)
    nll = -np.log(probs[np.arange(len(labels)), labels]).mean()
    assert nll == pytest.approx(0.490, abs=1e-3)
