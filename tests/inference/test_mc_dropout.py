import jax
import optax
import pytest

import jfractal as jf


def fit(problem, **options):
    valid = {"optimizer": optax.sgd(0.1), "num_steps": 1}
    return jf.mc_dropout(problem.log_joint, problem.init, jax.random.key(0), **{**valid, **options})


def test_it_drops_inputs_of_kernels(problem):
    assert fit(problem, rate=0.3).rates == {"kernel": 0.3}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rate", {"rate": 1.0}),
        ("num_samples", {"num_samples": 0}),
        ("num_samples", {"num_samples": 7}),
        ("num_samples", {"num_samples": 3, "batch_size": 10}),
        ("num_samples", {"num_samples": 2.0, "batch_size": 10}),
        ("at least one", {"where": lambda path, leaf: False}),
        ("two axes", {"where": lambda path, leaf: True}),
    ],
)
def test_bad_input(problem, name, options):
    with pytest.raises(jf.InputError, match=name):
        fit(problem, **options)
