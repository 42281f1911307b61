import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal.posterior import Ensemble, MeanField, Point, Posterior, Samples, mean_field, sample

NUM_DRAWS = 5
STATISTICS = {"batch_stats": {"mean": jnp.ones(2)}}


@pytest.fixture
def draws():
    index = jnp.arange(float(NUM_DRAWS))
    statistics = jax.tree.map(lambda x: jnp.stack([x] * NUM_DRAWS), STATISTICS)
    return Samples({"a": index[:, None] * jnp.ones((1, 2)), "b": 10 * index}, statistics)


@pytest.fixture
def q():
    return mean_field({"a": jnp.zeros(2), "b": jnp.ones(())}, scale=1.0)


def assert_uniform(index):
    share = np.bincount(np.asarray(index, int), minlength=NUM_DRAWS) / len(index)
    p = 1 / NUM_DRAWS
    assert np.all(abs(share - p) < 4 * np.sqrt(p * (1 - p) / len(index)))


def test_samples_draw_one_member_whole(draws):
    assert len(draws) == NUM_DRAWS
    one = draws.sample(jax.random.key(0))
    chex.assert_shape(one["params"]["a"], (2,))
    np.testing.assert_array_equal(one["params"]["b"], 10 * one["params"]["a"][0])
    chex.assert_trees_all_equal(one["batch_stats"], STATISTICS["batch_stats"])


def test_samples_draw_members_equally_often(draws):
    keys = jax.random.split(jax.random.key(0), 10_000)
    assert_uniform(jax.jit(jax.vmap(draws.sample))(keys)["params"]["b"] / 10)


def test_even_shares_use_draws_evenly(draws):
    at = [draws.member(u).mean()["b"] for u in np.arange(5) / 5 + 0.1]
    np.testing.assert_array_equal(at, draws.params["b"])


@pytest.fixture
def points():
    return Ensemble(Point({"params": {"w": jnp.arange(float(NUM_DRAWS))}}))


def test_every_share_has_its_member(points):
    edges = np.arange(NUM_DRAWS) / NUM_DRAWS
    for offset in (0.0, 0.1999):
        at = [points.member(u + offset).mean()["w"] for u in edges]
        np.testing.assert_array_equal(at, np.arange(NUM_DRAWS))
    # The largest float below 1, times 5, is 5 in float32.
    last = points.member(jnp.nextafter(jnp.float32(1), jnp.float32(0)))
    assert last.mean()["w"] == NUM_DRAWS - 1


def test_an_ensemble_draws_its_members_equally_often(points):
    keys = jax.random.split(jax.random.key(0), 10_000)
    assert_uniform(jax.jit(jax.vmap(points.sample))(keys)["params"]["w"])


def test_an_ensemble_draws_from_the_member():
    chains = Ensemble(Samples({"w": jnp.arange(6.0).reshape(2, 3)}))
    assert isinstance(chains, Posterior) and len(chains) == 2
    keys = jax.random.split(jax.random.key(0), 100)
    drawn = jax.vmap(lambda key: chains.member(0.5).sample(key))(keys)["params"]["w"]
    assert set(drawn.tolist()) == {3.0, 4.0, 5.0}


def test_mean_field_draws_its_weights_and_hands_the_rest_on(q):
    key = jax.random.key(3)
    variables = MeanField(q, STATISTICS).sample(key)
    chex.assert_trees_all_equal(variables, {"params": sample(q, key), **STATISTICS})
    assert set(MeanField(q).sample(key)) == {"params"}


def test_a_point_is_the_same_for_every_key(q):
    variables = {"params": {"a": jnp.arange(3.0)}, **STATISTICS}
    for seed in range(2):
        chex.assert_trees_all_equal(Point(variables).sample(jax.random.key(seed)), variables)


def test_posteriors_are_trees_and_cross_jit(draws, q):
    draw = jax.jit(lambda posterior, key: posterior.sample(key))
    key = jax.random.key(0)
    for posterior in (draws, MeanField(q, STATISTICS), Point({"params": {"a": jnp.ones(2)}})):
        assert isinstance(posterior, Posterior)
        chex.assert_trees_all_close(draw(posterior, key), posterior.sample(key), rtol=1e-6)
