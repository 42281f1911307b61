"""A small problem that many tables share: a net, a model of it, weights, data, a key."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jfractal as jf

__all__ = ["BATCH", "KEY", "MODEL", "NET", "PARAMS", "SGD", "SHIFTED", "VARIABLES", "X", "Y"]

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
X = RNG.normal(size=(8, 2)).astype(np.float32)
Y = RNG.integers(0, 3, 8)
BATCH = X, Y
NET = nn.Dense(3)
PARAMS = {
    "kernel": jnp.asarray(RNG.normal(size=(2, 3)), jnp.float32),
    "bias": jnp.zeros(3),
}
VARIABLES = {"params": PARAMS}
MODEL = jf.Model(NET.apply, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical())
SGD = optax.sgd(1e-2)
SHIFTED = "negative, zero, doubled, booleans, huge, half precision"
