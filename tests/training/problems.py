"""Small problems to fit, also in processes of their own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jfractal as jf

KEY = jax.random.key(0)
PRIOR, LIKELIHOOD = jf.priors.Gaussian(1.0), jf.likelihoods.Categorical()


class Net(nn.Module):
    """Two layers."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.relu(nn.Dense(4)(x)))


NET = Net()
X = np.asarray(jax.random.normal(KEY, (40, 4)))
Y = np.asarray(X[:, :3].argmax(1))
PARAMS = jax.jit(NET.init)(KEY, X)["params"]
MODEL = jf.Model(NET.apply, prior=PRIOR, likelihood=LIKELIHOOD)
MAP = jf.maximum_a_posteriori(MODEL, optax.adam(1e-2))

FRACTAL = jf.FractalNet(3, columns=2, widths=(2,))
IMAGES = np.asarray(jax.random.normal(KEY, (24, 4, 4, 1)))
LABELS = np.arange(24) % 3
FRACTAL_MODEL = jf.fractal_model(FRACTAL, prior=PRIOR, likelihood=LIKELIHOOD)
start = jax.jit(lambda key: FRACTAL.init(key, jnp.asarray(IMAGES[:1])))


def same(one, other):
    """Whether two trees are equal, bit for bit."""
    leaves = [jax.tree.leaves(tree) for tree in (one, other)]
    pairs = zip(*(map(np.asarray, part) for part in leaves), strict=True)
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def same_fit(one, other):
    """Whether two fits have the same state and the same history, bit for bit."""
    return same(one.state, other.state) and same(dict(one.history), dict(other.history))
