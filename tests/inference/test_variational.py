from itertools import product

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from jfractal.inference.kl_weight import warm_up
from jfractal.training import scan

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("schedule", "num_steps", "weight"),
    [(lambda step: 0.3, 4, 0.3), (warm_up(100), 1, 0.0), (lambda step: 1.0 * (step > 2), 3, 0.0)],
    ids=["constant", "warm-up", "counts from 0"],
)
def test_weight_of_the_kl_by_the_step(problem, schedule, num_steps, weight):
    def fit(kl_weight):
        method = jf.variational(problem.model, optax.sgd(0.1), kl_weight=kl_weight, scale=0.3)
        return scan(method, problem.start, problem.data, KEY, num_steps=num_steps)[0].params

    chex.assert_trees_all_close(fit(schedule), fit(weight), rtol=1e-6)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(fit(schedule), fit(weight + 1), rtol=1e-6)


def test_arrays_are_lifted_and_gaussian_leaves_are_left(problem):
    params = problem.start(KEY)
    lifted = jf.mean_field(params, scale=0.2, where=lambda path, leaf: path == "kernel")
    method = jf.variational(
        problem.model, optax.sgd(0.1), scale=0.2, where=lambda path, leaf: path == "kernel"
    )
    for start in (params, lifted, {"params": params}, lambda key: params):
        chex.assert_trees_all_equal(method.init(start, KEY).params, lifted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, "`scale` must be above 0"),
        ({"num_samples": 0}, "`num_samples` must be at least 1"),
        ({"kl_weight": -1.0}, "`kl_weight` must be at least 0 and finite"),
    ],
)
def test_bad_input(problem, options, message):
    with pytest.raises(jf.InputError, match=message):
        jf.variational(problem.model, optax.sgd(0.1), **options)


def test_a_posterior_of_nothing_is_refused(problem):
    method = jf.variational(problem.model, optax.sgd(0.1), where=lambda path, leaf: False)
    with pytest.raises(jf.InputError, match="`where` must pick at least one"):
        method.init(problem.start, KEY)


def test_a_layer_that_cannot_draw_says_so(problem):
    """Estimators of layers are for Bayesian layers; a Dense of Flax is told what to do."""
    method = jf.variational(problem.model, optax.sgd(0.1), estimator="flipout")
    with pytest.raises(jf.InputError, match=r"a Gaussian weight .*flipout.* call `sample"):
        method.update(method.init(problem.start, KEY), problem.data, KEY)


@pytest.mark.parametrize("estimator", ["reparam", "local_reparam", "flipout"])
def test_a_pruned_posterior_is_trained_on(estimator):
    """What is gone stays gone, exactly; the others move on, and the loss is finite."""
    net = jf.BayesDense(1, estimator=estimator)
    key_x, key = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (20, 6))
    params = net.init(key, x)["params"]
    pruned = jf.prune(params, 0.5)
    model = jf.Model(
        net.apply, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Gaussian(1.0)
    )
    method = jf.variational(model, optax.adam(1e-2))
    state = method.init(pruned, key)
    for step in range(3):
        state, info = jax.jit(method.update)(state, (x, x[:, :1]), jax.random.fold_in(key, step))
        assert all(jnp.isfinite(value) for value in info.values())
    posterior = method.posterior(state)
    fit = jf.fit(method, pruned, (x, x[:, :1]), key, num_steps=3)
    for trained, name in product((posterior.params, fit.posterior.params), ("kernel", "bias")):
        gone = np.asarray(pruned[name].std == 0)
        np.testing.assert_array_equal(trained[name].std == 0, gone)
        np.testing.assert_array_equal(trained[name].mean[gone], 0)
        assert (trained[name].mean[~gone] != pruned[name].mean[~gone]).all()
