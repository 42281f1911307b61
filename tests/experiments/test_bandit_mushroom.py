"""The bandit's loss is the ELBO of the turns that its buffer holds."""

import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from experiments._perceptron import Perceptron
from experiments.bandit_mushroom import PRESETS, Bandit


def test_every_turn_in_the_buffer_carries_its_share_of_the_kl():
    config, net = PRESETS["quick"], Perceptron((8,), 1)
    bandit = Bandit(config, net, jnp.eye(10, 3), jnp.arange(10) % 2)
    params = bandit.agent(None, jax.random.key(0)).params
    batch = bandit.inputs(jnp.arange(8), jnp.arange(8) % 2), jnp.linspace(-35.0, 5.0, 8)[:, None]
    known, key = 20, jax.random.key(1)
    model = jf.Model(
        net.apply,
        prior=jf.priors.Gaussian(config.model.prior_scale),
        likelihood=jf.likelihoods.Gaussian(config.model.noise_scale),
    )
    expected = jf.elbo(model, params, batch, key, num_data=known)
    assert expected.kl > 10
    loss = jax.jit(bandit.loss)(params, batch, key, jnp.asarray(known))
    np.testing.assert_allclose(loss, -expected.value, rtol=1e-6)
