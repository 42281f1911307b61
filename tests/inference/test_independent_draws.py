"""Draws that should differ do, and no key is used for two of them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from tests.inference.methods import LIKELIHOOD, METHODS, PRIOR

KEY = jax.random.key(0)
X = np.asarray(jax.random.normal(KEY, (8, 4)))
Y = np.arange(8) % 3


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


FRACTAL = jf.FractalNet(3, columns=2, widths=(2,), dropout=0.1, unit=jf.nn.DenseUnit)
MODEL = jf.fractal_model(FRACTAL, prior=PRIOR, likelihood=LIKELIHOOD)


@pytest.mark.parametrize("routes", ["sampled", "two_pass", "partitioned"])
def test_no_key_is_used_twice_in_a_fit_and_a_prediction_of_a_fractal_net(routes):
    model = jf.fractal_model(FRACTAL, prior=PRIOR, likelihood=LIKELIHOOD, routes=routes)
    method = jf.variational(model, optax.sgd(1e-2), num_samples=2)
    with jax.debug_key_reuse(True):
        fit = jf.fit(method, FRACTAL.init(KEY, X), (X, Y), jax.random.key(1), num_steps=2)
        jf.predict(model, fit.posterior, X, jax.random.key(2), num_samples=2)


@pytest.mark.parametrize("name", METHODS)
def test_no_key_is_used_twice_in_a_fit_and_a_prediction(name):
    with jax.debug_key_reuse(True):
        augment = lambda key, x: x + jax.random.normal(key, x.shape)
        fit = jf.fit(
            METHODS[name](MODEL),
            lambda key: FRACTAL.init(key, X),
            (X, Y),
            jax.random.key(1),
            num_steps=2,
            batch_size=4,
            augment=augment,
        )
        jf.predict(MODEL, fit.posterior, X, jax.random.key(2), num_samples=2)
