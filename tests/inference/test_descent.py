import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jfractal.inference.descent import batch_indices, descend, fold, schedule

import jfractal as jf
from jfractal import DivergenceError, InputError
from tests.inference.conftest import flat

DATA = jnp.arange(10.0)


def test_an_epoch_has_every_example_at_most_once():
    batches = batch_indices(jax.random.key(0), DATA, num_steps=7, batch_size=3)
    assert batches.shape == (7, 3)
    epochs = np.asarray(batches[:6]).reshape(2, 9)
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert not np.array_equal(*epochs)


def test_fold_hands_on_batches_keys_and_counts():
    def step(state, batch, key, count):
        (total,) = state
        return (total + batch.sum(),), (batch, jax.random.key_data(key), count)

    (total,), (batches, keys, counts) = fold(
        step, (jnp.zeros(()),), jax.random.key(0), DATA, method="sum", num_steps=4, batch_size=5
    )
    np.testing.assert_allclose(total, 2 * DATA.sum())
    np.testing.assert_array_equal(np.sort(batches.reshape(2, 10)), np.tile(DATA, (2, 1)))
    np.testing.assert_array_equal(counts, np.arange(4))
    assert len(np.unique(keys, axis=0)) == 4


def test_descend_is_gradient_descent():
    """``w ← w − r (w − mean)`` on all data; the loss before each step is reported."""
    w, losses = descend(
        lambda w, batch, *_: 0.5 * ((w - batch) ** 2).mean(),
        jnp.zeros(()),
        jax.random.key(0),
        DATA,
        method="sum",
        optimizer=optax.sgd(0.25),
        num_steps=8,
    )
    steps = np.arange(9)
    path = 4.5 * (1 - 0.75**steps)
    np.testing.assert_allclose(w, path[-1], rtol=1e-6)
    np.testing.assert_allclose(losses, 0.5 * ((path[:-1] - 4.5) ** 2 + DATA.var()), rtol=1e-6)


def test_schedules():
    assert float(schedule(0.5)(3)) == 0.5
    halving = optax.exponential_decay(1.0, 1, 0.5)
    assert schedule(halving) is halving
    with pytest.raises(InputError, match="learning_rate"):
        schedule(0.0)


DESCENT = {"optimizer": optax.sgd(1e30), "num_steps": 100}
TOO_FAST = {
    "maximum a posteriori": (jf.maximum_a_posteriori, DESCENT),
    "variational inference": (jf.variational, DESCENT),
    "MC dropout": (jf.mc_dropout, DESCENT),
    "IVON": (jf.ivon, {"learning_rate": 1e30, "num_steps": 100}),
    "stochastic gradient MCMC": (
        jf.sghmc,
        {"learning_rate": 1e30, "num_warmup": 0, "num_samples": 100},
    ),
}


@pytest.mark.parametrize("name", TOO_FAST)
def test_a_fit_that_diverges_says_so(problem, name):
    method, options = TOO_FAST[name]
    with pytest.raises(DivergenceError, match=f"{name} diverged.* after 100 steps: try a smaller"):
        method(problem.log_joint, start(problem, method), jax.random.key(0), **options)


@pytest.mark.parametrize("name", TOO_FAST)
def test_a_traced_fit_that_diverges_is_nan(problem, name):
    method, options = TOO_FAST[name]

    def fit(key):
        return method(problem.log_joint, start(problem, method), key, **options)

    posterior = jax.jit(fit)(jax.random.key(0))
    assert np.isnan(flat(posterior.sample(jax.random.key(1))["params"])).any()


def start(problem, method):
    """Draws the weights where a method starts."""
    if method is jf.variational:
        return lambda key: jf.mean_field(problem.init(key))
    return problem.init


@pytest.mark.parametrize(
    "options",
    [
        {"num_steps": 0},
        {"num_steps": 2.5},
        {"batch_size": 0},
        {"batch_size": 11},
        {"batch_size": 2.0},
    ],
)
def test_bad_input(options):
    with pytest.raises(InputError, match=next(iter(options))):
        batch_indices(jax.random.key(0), DATA, **{"num_steps": 1, "batch_size": 1, **options})
