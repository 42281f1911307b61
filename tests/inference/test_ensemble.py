import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from jfractal.inference import PerMember
from tests.inference.conftest import flat

KEY = jax.random.key(0)


def test_members_are_fits_of_their_own(problem):
    """Vmapped, as if one after the other, each with its start, its batches and its keys."""
    one = jf.variational(problem.model, optax.sgd(0.1))
    method = jf.ensemble(one, 3)
    shares = jax.tree.map(lambda a: a.reshape(3, 10, -1), problem.data)
    state = method.init(problem.start, KEY)
    state, info = jax.jit(method.update)(state, PerMember(shares), KEY)
    together = method.posterior(state).members.mean()
    assert info["loss"].shape == (3,)
    for m, key in enumerate(jax.random.split(KEY, 3)):
        batch = jax.tree.map(lambda a, m=m: a[m], shares)
        alone, own = one.update(one.init(problem.start, key), batch, key)
        of_member = jax.tree.map(lambda a, m=m: a[m], together)
        np.testing.assert_allclose(flat(one.posterior(alone).mean()), flat(of_member), rtol=1e-5)
        np.testing.assert_allclose(info["loss"][m], own["loss"], rtol=1e-5)
    assert np.abs(flat(together)[0] - flat(together)[1]).min() > 1e-3


def test_one_batch_for_all_is_that_batch_for_each(problem):
    method = jf.ensemble(jf.sgld(problem.model, learning_rate=0.1), 2)
    state = method.init(problem.start, KEY)
    twice = PerMember(jax.tree.map(lambda a: jnp.stack([a, a]), problem.data))
    shared, own = (method.update(state, batch, KEY)[0] for batch in (problem.data, twice))
    np.testing.assert_allclose(flat(shared.params), flat(own.params), rtol=1e-6)


def test_from_one_tree_members_start_alike(problem):
    method = jf.ensemble(jf.maximum_a_posteriori(problem.model, optax.sgd(0.1)), 2)
    start = problem.start(KEY)
    np.testing.assert_array_equal(flat(method.init(start, KEY).params), [flat(start)] * 2)


def test_members_start_from_those_that_are_trained(problem):
    """With their batch statistics, and in their order."""
    trained = jf.Ensemble(
        jf.Point({"params": jax.vmap(problem.start)(jax.random.split(KEY, 2)), "s": jnp.arange(2)})
    )
    method = jf.ensemble(jf.sgld(problem.model, learning_rate=0.1), 2)
    state = method.init(trained, KEY)
    np.testing.assert_array_equal(flat(state.params), flat(trained.members.mean()))
    np.testing.assert_array_equal(state.variables["s"], [0, 1])
    with pytest.raises(jf.InputError, match="must have `num_members` = 3 members"):
        jf.ensemble(jf.sgld(problem.model, learning_rate=0.1), 3).init(trained, KEY)


def test_bad_input(problem):
    method = jf.maximum_a_posteriori(problem.model, optax.sgd(0.1))
    for num_members in (0, 1.5):
        with pytest.raises(jf.InputError, match="num_members"):
            jf.ensemble(method, num_members)
    for wrong in (jf.ensemble(method, 2), problem.model, lambda key: jf.Point({})):
        with pytest.raises(
            jf.InputError, match="`method` must be a method that is not an ensemble"
        ):
            jf.ensemble(wrong, 2)
