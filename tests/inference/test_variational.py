import chex
import jax
import optax
import pytest
from jfractal.training.kl_weight import warm_up

import jfractal as jf


@pytest.mark.parametrize(
    ("schedule", "num_steps", "weight"),
    [(lambda step: 0.3, 4, 0.3), (warm_up(100), 1, 0.0), (lambda step: 1.0 * (step > 2), 3, 0.0)],
    ids=["constant", "warm-up", "counts from 0"],
)
def test_weight_of_the_kl_by_the_step(problem, schedule, num_steps, weight):
    def fit(kl_weight):
        return jf.variational(
            problem.log_joint,
            lambda key: jf.mean_field(problem.init(key), scale=0.3),
            jax.random.key(0),
            optimizer=optax.sgd(0.1),
            num_steps=num_steps,
            kl_weight=kl_weight,
        )

    chex.assert_trees_all_close(fit(schedule).params, fit(weight).params, rtol=1e-6)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(fit(schedule).params, fit(weight + 1).params, rtol=1e-6)


def test_a_start_without_gaussian_leaves_is_refused(problem):
    options = {"optimizer": optax.sgd(0.1), "num_steps": 1}
    with pytest.raises(jf.InputError, match="`init` must draw weights with Gaussian leaves"):
        jf.variational(problem.log_joint, problem.init, jax.random.key(0), **options)
