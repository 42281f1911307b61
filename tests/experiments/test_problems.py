import jax
import jax.numpy as jnp
import pytest

from experiments._problems import DataConfig, ModelConfig, problems

EVERY = problems(DataConfig(num_train=20, num_test=10, table="diabetes"), ModelConfig())


@pytest.mark.parametrize("name", EVERY)
def test_a_problem_can_be_sampled(name):
    problem = EVERY[name]()
    params = problem.init(jax.random.key(0))
    assert problem.num_params == sum(w.size for w in jax.tree.leaves(params))
    assert jnp.isfinite(problem.log_joint(params))
    assert problem.net.apply({"params": params}, problem.x_test).shape[0] == len(problem.y_test)


def test_the_perceptron_is_as_large_as_the_fractal_net():
    fractal, perceptron = (EVERY[name]().num_params for name in ("dense fractal", "perceptron"))
    assert perceptron == pytest.approx(fractal, rel=0.03)
