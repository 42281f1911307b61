import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal.posterior import Routes, kl, kl_by_leaf, mean_field, priors

PARAMS = {"body": [jnp.ones((2, 3)), jnp.zeros(3)], "head": {"kernel": jnp.full((3, 1), 0.5)}}


def lifted(path, leaf):
    return path != "body/1"


@pytest.mark.parametrize("prior", [priors.Gaussian(0.7), priors.ScaleMixture()])
def test_the_leaves_sum_to_the_whole(prior):
    q = mean_field(PARAMS, scale=0.3, where=lifted) | {"routes": Routes.uniform(2)}
    key = jax.random.key(0)
    parts = kl_by_leaf(q, prior, key)
    assert parts.keys() == {"body/0", "head/kernel"}  # points and routes have none
    np.testing.assert_allclose(sum(parts.values()), kl(q, prior, key), rtol=1e-6)
    exact = priors.Gaussian(0.7)
    np.testing.assert_allclose(kl_by_leaf(q, exact)["head/kernel"], kl(q["head"], exact), rtol=1e-6)


def test_leaves_get_keys_of_their_own():
    leaf = mean_field(jnp.zeros(3), scale=0.3)
    parts = kl_by_leaf({"a": leaf, "b": leaf}, priors.ScaleMixture(), jax.random.key(0))
    assert parts["a"] != parts["b"]


def test_a_tree_of_points_is_free():
    assert kl(PARAMS, priors.ScaleMixture(), jax.random.key(0)) == 0
    assert kl_by_leaf(PARAMS, priors.ScaleMixture()) == {}
