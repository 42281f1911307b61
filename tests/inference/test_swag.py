import jax
import numpy as np
import optax
import pytest

import jfractal as jf
from jfractal.training import scan
from tests.inference.conftest import NOISE, PRIOR, flat

KEY = jax.random.key(0)


def covariance_of(iterates, rank):
    """½ (diag(s²) + D Dᵀ / (K − 1)), for each of "runs iterates weights"."""
    d = (iterates - iterates.mean(1, keepdims=True))[:, -rank:]
    diagonal = np.einsum("rw,wv->rwv", iterates.var(1), np.eye(iterates.shape[-1]))
    return (diagonal + np.einsum("rkw,rkv->rwv", d, d) / (rank - 1)) / 2


def test_moments_are_those_of_gradient_descent(problem):
    """On all data the iterates are a linear recursion: Σ = ½ (diag(s²) + D Dᵀ / (K − 1))."""
    rate, num_samples, thinning, rank = 0.02, 8, 2, 5
    rates = optax.join_schedules([lambda _: 0.1, lambda _: rate], [1])
    method = jf.swag(problem.model, optax.sgd(rates), num_warmup=1, thinning=thinning, rank=rank)
    start, num_steps = problem.start(KEY), 1 + num_samples * thinning
    q, _ = scan(method, start, problem.data, KEY, num_steps=num_steps)
    w, pull = flat(start), problem.precision / len(problem.x)
    w = w - 0.1 * pull @ (w - problem.mean)
    path = []
    for _ in range(num_samples * thinning):
        w = w - rate * pull @ (w - problem.mean)
        path.append(w)
    iterates = np.array(path)[thinning - 1 :: thinning]
    (covariance,) = covariance_of(iterates[None], rank)

    np.testing.assert_allclose(flat(q.mean()), iterates.mean(0), rtol=1e-4, atol=1e-5)
    factors, std = flat(q.factors), flat(q.std)
    np.testing.assert_allclose(np.diag(std**2) + factors.T @ factors, covariance, rtol=1e-3)


def epochs_of_descent(problem, rate, batch_size, num_runs, num_epochs):
    """Ends of epochs of plain gradient descent from the mode, "runs epochs weights"."""
    rng, num_data = np.random.default_rng(0), len(problem.x)
    target = np.asarray(problem.y[:, 0], np.float64)
    w, path = np.tile(problem.mean, (num_runs, 1)), []
    for _ in range(num_epochs):
        order = rng.permuted(np.tile(np.arange(num_data), (num_runs, 1)), axis=1)
        for batch in np.split(order, num_data // batch_size, axis=1):
            design = problem.design[batch]
            residual = np.einsum("rbw,rw->rb", design, w) - target[batch]
            slope = np.einsum("rbw,rb->rw", design, residual) / (batch_size * NOISE**2)
            w = w - rate * (slope + w / (num_data * PRIOR**2))
        path.append(w)
    return np.stack(path, axis=1)


def test_on_batches_it_is_one_of_many_such_descents(problem):
    """Its moments are among those of independent runs: its spread is theirs, not a posterior's."""
    rate, batch_size, num_samples, rank = 0.02, 10, 500, 200
    falling, thinning = optax.cosine_decay_schedule(0.1, 300), len(problem.x) // batch_size
    rates = optax.join_schedules([falling, lambda _: rate], [300])
    method = jf.swag(problem.model, optax.sgd(rates), num_warmup=300, thinning=thinning, rank=rank)
    options = {"num_steps": 300 + num_samples * thinning, "batch_size": batch_size}
    q, _ = jax.jit(lambda: scan(method, problem.start, problem.data, KEY, **options))()
    runs = epochs_of_descent(problem, rate, batch_size, 64, num_samples)
    factors, std = flat(q.factors), flat(q.std)
    covariance = np.diag(std**2) + factors.T @ factors
    for actual, of_runs in [
        (flat(q.mean()), runs.mean(1)),
        (covariance, covariance_of(runs, rank)),
    ]:
        assert np.all(np.abs(actual - of_runs.mean(0)) < 4 * of_runs.std(0))
    assert np.all(np.diag(covariance) < 0.2 * np.diag(problem.covariance))


def test_before_the_second_iterate_it_does_not_spread(problem):
    """None: the weights as they are; one: that one; never a NaN."""
    method = jf.swag(problem.model, optax.sgd(0.1), num_warmup=1, thinning=2, rank=3)
    state = method.init(problem.start(KEY), KEY)
    for step in range(4):
        q = method.posterior(state)
        np.testing.assert_array_equal(flat(q.variance()), np.zeros(3))
        if step < 3:
            np.testing.assert_array_equal(flat(q.mean()), flat(state.descent.params))
        state, _ = method.update(state, problem.data, KEY)


@pytest.mark.parametrize(
    "options", [{"rank": 1}, {"rank": 2.5}, {"num_warmup": -1}, {"thinning": 0}]
)
def test_bad_input(problem, options):
    with pytest.raises(jf.InputError, match=next(iter(options))):
        jf.swag(problem.model, optax.sgd(0.1), **options)
