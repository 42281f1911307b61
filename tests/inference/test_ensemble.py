import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from tests.inference.conftest import flat


def test_members_are_fits_of_their_own(problem):
    """Vmapped, as if one after the other; one step is short of where they would meet."""

    def fit(key):
        return jf.maximum_a_posteriori(
            problem.log_joint,
            problem.init,
            key,
            optimizer=optax.sgd(0.1),
            num_steps=1,
            batch_size=10,
        )

    q = jf.ensemble(fit, jax.random.key(0), 3)
    alone = [fit(key).variables["params"] for key in jax.random.split(jax.random.key(0), 3)]
    together = flat(q.members.variables["params"])
    np.testing.assert_allclose(together, [flat(w) for w in alone], rtol=1e-5)
    assert np.abs(together[0] - together[1]).min() > 1e-3


def test_members_that_diverge_are_named(problem):
    def fit(key):
        slow, fast = jnp.zeros(()), jnp.full((), jnp.nan)
        first = jnp.array_equal(key, jax.random.split(jax.random.key(0), 3)[0])
        return jf.Point({"params": {"w": jnp.where(first, slow, fast)}})

    with pytest.raises(jf.DivergenceError, match=r"members \[1, 2\] of the 3 diverged"):
        jf.ensemble(fit, jax.random.key(0), 3)
    traced = jax.jit(lambda key: jf.ensemble(fit, key, 3))(jax.random.key(0))
    assert np.isnan(traced.members.variables["params"]["w"]).sum() == 2


@pytest.mark.parametrize("num_members", [0, 1.5])
def test_bad_input(num_members):
    with pytest.raises(jf.InputError, match="num_members"):
        jf.ensemble(lambda key: jf.Point({}), jax.random.key(0), num_members)
