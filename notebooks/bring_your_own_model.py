# %% [markdown]
# # Bring your own model
#
# jfractal asks a network for one thing: a pure function `apply(variables, x)`. This notebook
# makes four networks Bayesian: a Flax Linen network with BatchNorm and dropout, a Flax NNX
# network, an Equinox network, and one that was trained long ago and must stay as it is. It takes
# about two minutes on a CPU.

# %%
# Run this cell first. Where jfractal is missing, as on Colab, it installs it from ADDRESS.
import importlib.util
import os
import subprocess
import sys

ADDRESS = ""  # such as "git+https://<host>/<you>/jfractal"; see the README beside this notebook

if importlib.util.find_spec("jfractal") is None:
    if not ADDRESS:
        raise SystemExit(
            "jfractal is not installed: set ADDRESS above to where your copy of it is."
        )
    wanted = f"jfractal[data,equinox] @ {ADDRESS}"
    if subprocess.run([sys.executable, "-m", "pip", "install", "-q", wanted]).returncode:
        raise SystemExit(f"{ADDRESS} could not be installed: is it right, and is there a network?")

import jax

print(f"JAX {jax.__version__} found {jax.device_count()} × {jax.devices()[0].device_kind}.")

# %%
import equinox as eqx
import flax.linen as nn
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import make_moons

import jfractal as jf

STEPS, DRAWS = 800, 64
if "JFRACTAL_QUICK" in os.environ:  # so that the tests of jfractal need not wait
    STEPS, DRAWS = 20, 4

# %% [markdown]
# ## One question for all of them
#
# Two interleaved half-moons, 60 points each. In two dimensions we can draw what a network
# believes everywhere, also where there are no data.

# %%
x, y = make_moons(120, noise=0.12, random_state=0)
x = jnp.asarray(x, jnp.float32)

plane = np.stack(np.meshgrid(np.linspace(-3, 4, 60), np.linspace(-2.5, 3, 60)), -1)
grid = jnp.asarray(plane.reshape(-1, 2), jnp.float32)
beliefs = {"prior": jf.priors.Gaussian(1.0), "likelihood": jf.likelihoods.Categorical()}
key = jax.random.key(0)


def draw(**posteriors):
    """The total entropy over the plane, a panel for each pair of a model and its posterior."""
    figure, axes = plt.subplots(
        1, len(posteriors), figsize=(3.2 * len(posteriors), 2.9), layout="constrained"
    )
    for axis, (name, (model, posterior)) in zip(np.atleast_1d(axes), posteriors.items()):
        p = jf.predict(model, posterior, grid, key, num_samples=DRAWS)
        entropy = np.asarray(p.entropy).reshape(60, 60)
        shades = axis.contourf(*np.moveaxis(plane, -1, 0), entropy, np.linspace(0, 0.7, 15))
        axis.scatter(*x.T, c=y, cmap="coolwarm", s=8)
        axis.set_title(name.replace("_", " "))
    figure.colorbar(shades, label="entropy, nats")


# %% [markdown]
# ## Flax Linen, with BatchNorm and dropout
#
# Such a network runs differently in training. `Model.from_linen` finds out how: it knows the
# usual keywords (`train`, `deterministic`, …), gives dropout its random numbers, and keeps batch
# statistics. Start from all variables, not only from `params`.


# %%
class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Dense(32)(x)))
        x = nn.Dropout(0.1, deterministic=not train)(nn.relu(nn.Dense(32)(x)))
        return nn.Dense(2)(x)


net = Linen()
linen = jf.Model.from_linen(net, **beliefs)
adam = optax.adam(1e-2)
point = jf.maximum_a_posteriori(linen, adam)
starts = lambda key: net.init(key, x)
fits = {
    "one network": jf.fit(point, starts, (x, y), key, num_steps=STEPS),
    "ensemble of ten": jf.fit(jf.ensemble(point, 10), starts, (x, y), key, num_steps=STEPS),
}
draw(**{name: (linen, fit.posterior) for name, fit in fits.items()})

# %% [markdown]
# **Look at** the dark regions: the network is certain there. One network is certain almost
# everywhere, far from the data too. The ensemble doubts along a wider band that opens where no
# point lies.
#
# ## Flax NNX
#
# An NNX module holds its own weights. `from_nnx` returns a pure model and the weights as a tree
# of dictionaries; the module is never changed.


# %%
class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(2, 32, rngs=rngs)
        self.second = nnx.Linear(32, 2, rngs=rngs)

    def __call__(self, x):
        return self.second(nnx.tanh(self.first(x)))


nnx_model, variables = jf.Model.from_nnx(Nnx(nnx.Rngs(0)), **beliefs)
variational = jf.variational(nnx_model, adam, scale=0.05)
nnx_posterior = jf.fit(variational, variables, (x, y), key, num_steps=STEPS).posterior
nnx_posterior

# %% [markdown]
# ## Equinox
#
# An Equinox module *is* a tree, for one example; `from_equinox` maps it over a batch. The sampler
# below follows the gradient with noise, and keeps networks on its way.

# %%
mlp = eqx.nn.MLP(2, 2, width_size=32, depth=1, activation=jnp.tanh, key=key)
eqx_model, variables = jf.Model.from_equinox(mlp, **beliefs)
sampler = jf.sghmc(eqx_model, learning_rate=0.1, num_warmup=STEPS // 2, num_draws=DRAWS, thinning=5)
eqx_posterior = jf.fit(sampler, variables, (x, y), key, num_steps=STEPS).posterior
draw(NNX_mean_field=(nnx_model, nnx_posterior), Equinox_SGHMC=(eqx_model, eqx_posterior))

# %% [markdown]
# **Look at** the left panel. The mean field is far too unsure: it pays for every weight that is
# not at its prior, and 120 points cannot pay for many. The sampler has no such family to fit
# into.
#
# ## A network that is trained already
#
# Here are weights that somebody else found, by a loop that knows nothing of jfractal.

# %%
old = nn.Sequential([nn.Dense(32), nn.tanh, nn.Dense(32), nn.tanh, nn.Dense(2)])
params = old.init(key, x)["params"]
state = adam.init(params)


@jax.jit
def step(params, state):
    def loss(params):
        logits = old.apply({"params": params}, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    updates, state = adam.update(jax.grad(loss)(params), state)
    return optax.apply_updates(params, updates), state


for _ in range(STEPS):
    params, state = step(params, state)

# %% [markdown]
# `laplace` goes through the data once and measures how sharply the fit depends on the weights of
# the last layer. The other weights stay as they are, and nothing is trained. The mean of the new
# posterior is the old network.
#
# How strong should the prior be? The evidence, `log p(D)`, compares priors without held-out data.

# %%
last = lambda path, leaf: path.startswith("layers_4/")
candidates = {}
for scale in (0.3, 1.0, 3.0, 10.0):
    model = jf.Model(
        old.apply, prior=jf.priors.Gaussian(scale), likelihood=jf.likelihoods.Categorical()
    )
    candidates[scale] = model, jf.laplace(model, params, (x, y), where=last)
    evidence = candidates[scale][1].log_marginal_likelihood
    print(f"prior scale {scale:4}: log evidence {evidence:7.1f} nats")

best = max(candidates, key=lambda scale: candidates[scale][1].log_marginal_likelihood)
model, laplace = candidates[best]
draw(as_it_was=(model, jf.Point({"params": params})), last_layer_Laplace=(model, laplace))

# %% [markdown]
# **Look at** the line on which the old network changes its mind: it was certain right up to it,
# and everywhere else. Now the line is a band, narrow between the moons and wide where no point
# lies, and far from the data there is doubt on both sides of it.
#
# ## Next
#
# - `how_good_is_my_posterior`: measure any of these against the exact posterior.
# - `docs/posteriors.md` has a line of code for every method, and what it costs.
