import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from tests.inference.conftest import flat

KEY = jax.random.key(0)


def step(problem, num_data=30, **options):
    """The state after one step on some of the data."""
    method = jf.mc_dropout(problem.model, optax.sgd(0.1), **options)
    state = method.init(problem.start(KEY), KEY)
    batch = jax.tree.map(lambda a: a[:num_data], problem.data)
    return method, method.update(state, batch, KEY)[0]


def test_it_drops_inputs_of_kernels(problem):
    method, state = step(problem, rate=0.3)
    assert method.posterior(state).rates == {"kernel": 0.3}


def test_without_dropout_it_is_maximum_a_posteriori(problem):
    _, state = step(problem, rate=0.0, num_samples=5)
    point = jf.maximum_a_posteriori(problem.model, optax.sgd(0.1))
    other, _ = point.update(point.init(problem.start(KEY), KEY), problem.data, KEY)
    np.testing.assert_allclose(flat(state.params), flat(other.params), rtol=1e-5)


def test_every_share_of_a_batch_has_a_mask_of_its_own(problem):
    """One weight for each example: its gradient is 0 exactly where its share's mask drops it."""
    num_samples, size = 8, 64
    likelihood = jf.likelihoods.Gaussian(1.0)
    apply = lambda variables, x: x @ variables["params"]["kernel"]
    model = jf.Model(apply, prior=jf.priors.Flat(), likelihood=likelihood)
    method = jf.mc_dropout(model, optax.sgd(1.0), rate=0.5, num_samples=num_samples)
    state = method.init({"kernel": jnp.zeros((size, 1))}, KEY)
    batch = jnp.eye(size), jnp.ones((size, 1))
    update = jax.jit(method.update)
    kept = [
        np.asarray(update(state, batch, key)[0].params["kernel"][:, 0]) != 0
        for key in jax.random.split(KEY, 2)
    ]
    for masks in kept:
        assert 0.3 < masks.mean() < 0.7
    assert (kept[0] != kept[1]).any()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rate", {"rate": 1.0}),
        ("num_samples", {"num_samples": 0}),
        ("num_samples", {"num_samples": 7}),
        ("num_samples", {"num_samples": 3, "num_data": 10}),
        ("num_samples", {"num_samples": 2.0}),
        ("at least one", {"where": lambda path, leaf: False}),
        ("two axes", {"where": lambda path, leaf: True}),
    ],
)
def test_bad_input(problem, name, options):
    with pytest.raises(jf.InputError, match=name):
        step(problem, **options)


def test_a_trained_net_is_given_dropout(problem):
    """Somebody else's weights, with or without other collections; moments as in closed form."""
    params = problem.start(KEY)
    q = jf.dropout({"params": params, "batch_stats": {"mean": jnp.ones(2)}}, rate=0.3)
    assert q.rates == {"kernel": 0.3} and set(q.sample(KEY)) == {"params", "batch_stats"}
    assert set(jf.dropout(params, rate=0.3).sample(KEY)) == {"params"}
    n, x = 20_000, problem.x
    outputs = jf.sample_outputs(problem.net.apply, q, x, KEY, num_samples=n)[..., 0]
    mean = problem.net.apply({"params": params}, x)[:, 0]
    variance = 0.3 / 0.7 * jnp.square(x) @ jnp.square(params["kernel"][:, 0])
    assert (abs(outputs.mean(0) - mean) < 4 * jnp.sqrt(variance / n)).all()
    assert (abs(outputs.var(0) / variance - 1) < 0.1).all()


def test_what_cannot_be_given_dropout(problem):
    params = problem.start(KEY)
    with pytest.raises(jf.InputError, match="`rate` must be in"):
        jf.dropout(params, rate=1.0)
    with pytest.raises(jf.InputError, match="two axes"):
        jf.dropout(params, where=lambda path, leaf: True)
    with pytest.raises(jf.InputError, match="`params` of `dropout` must be a tree of weights"):
        jf.dropout(jf.Point({"params": params}))
