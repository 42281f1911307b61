"""Draws that should differ do."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from tests.inference.methods import PRIOR

KEY = jax.random.key(0)
X = np.asarray(jax.random.normal(KEY, (8, 4)))
Y = jnp.arange(8) % 3


class Dropping(nn.Module):
    """A net whose outputs are its dropout mask."""

    @nn.compact
    def __call__(self, x, train=False):
        self.param("bias", nn.initializers.zeros_init(), (3,))
        return nn.Dropout(0.5, deterministic=not train)(jnp.ones((len(x), 3)))


class Recorded(jf.likelihoods.Categorical):
    """What is to be classified, as a figure of the batch."""

    def metrics(self, outputs, targets):
        return {f"output {i}": x for i, x in enumerate(outputs.ravel())}


def masks(num_samples, key):
    """The mean dropout mask of the draws of an ELBO: of equal ones, it is 0 or 2."""
    model = jf.Model.from_linen(Dropping(), prior=PRIOR, likelihood=Recorded())
    params = jf.mean_field({"bias": jnp.zeros(3)})
    bound = jf.elbo(model, params, (X, Y), key, num_samples=num_samples)
    return np.array([bound.metrics[f"output {i}"] for i in range(24)])


def test_dropout_masks_differ_between_the_draws_of_an_elbo():
    assert set(masks(1, KEY).tolist()) == {0.0, 2.0}
    assert {0.5, 1.0, 1.5} <= set(masks(4, KEY).tolist())


def test_a_stream_of_the_users_own_does_not_stand_in_for_the_key_of_a_draw():
    """A net that was bound to a key draws by that of the pass all the same."""
    net = Dropping()
    fixed = lambda variables, x, **options: net.apply(
        variables, x, **{"rngs": {"dropout": jax.random.key(7)}} | options
    )
    train = lambda variables, x, key: (
        fixed(variables, x, train=True, rngs={"dropout": key}),
        variables,
    )
    model = jf.Model(fixed, prior=PRIOR, likelihood=Recorded(), train=train)
    params = jf.mean_field({"bias": jnp.zeros(3)})
    one, two = (jf.elbo(model, params, (X, Y), jax.random.key(i)).metrics for i in (1, 2))
    assert one != two
