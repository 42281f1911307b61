# %% [markdown]
# # All cores of a TPU, or one GPU
#
# The same training runs on a laptop, on a GPU, and on all cores of a TPU: the devices are an
# argument. This notebook splits a batch over the devices, trains in bfloat16, gives each device
# members of an ensemble, and spreads a prediction and Markov chains. In Colab, choose *Runtime →
# Change runtime type* first. On a CPU it takes about two minutes.
#
# The first line is for a machine without an accelerator: there JAX will show four devices, so
# that everything can be tried. They share the cores of the machine, so they are no faster than
# one.

# %%
import os

os.environ["JAX_NUM_CPU_DEVICES"] = "4"

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
import time
from functools import partial

import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

import jfractal as jf

has_accelerator = jax.default_backend() != "cpu"
WIDTHS, EPOCHS = ((64, 128, 256), 20) if has_accelerator else ((8, 16), 6)
if "JFRACTAL_QUICK" in os.environ:  # so that the tests of jfractal need not wait
    WIDTHS, EPOCHS = (4,), 1

# %% [markdown]
# ## Data
#
# With an accelerator this is CIFAR-10, which is read from the Hugging Face Hub. Without one, or
# without a network, it is scikit-learn's digits, and the next line says which.

# %%
data = jf.data.load_images("cifar10" if has_accelerator else "digits")
print(data.name, data.note)
mean, std = jf.data.channel_moments(data.train_images)
x = jf.data.standardise(data.train_images, mean, std)
x_test = jf.data.standardise(data.test_images, mean, std)
y, y_test = data.train_labels, data.test_labels
batch = 512 if has_accelerator else 64

# %% [markdown]
# ## A mesh
#
# A mesh is an array of devices with named axes. `jf.fit` knows two names. Along `data`, each
# device takes a part of every batch; along `members`, each takes a part of the members of an
# ensemble.

# %%
devices = np.array(jax.devices())
all_devices = Mesh(devices, ("data",))
all_devices

# %% [markdown]
# ## One training, twice
#
# First on one device, then on all. Nothing else changes: not the batches, not the learning rate.

# %%
net = jf.FractalNet(10, columns=2, widths=WIDTHS, norm="group")
beliefs = {"prior": jf.priors.Gaussian(0.3), "likelihood": jf.likelihoods.Categorical()}
model = jf.fractal_model(net, **beliefs, global_rate=0.0)
key = jax.random.key(0)


def train(model, mesh):
    method = jf.maximum_a_posteriori(model, optax.adam(3e-3))
    start = model.net.init(key, x[:1])
    options = {"num_epochs": EPOCHS, "batch_size": batch, "mesh": mesh}
    began = time.perf_counter()
    fit = jf.fit(method, start, (x, y), key, **options)
    return fit, time.perf_counter() - began


fits = {"one device": train(model, None), "all devices": train(model, all_devices)}
for name, (fit, seconds) in fits.items():
    print(f"{name}: {seconds:.0f} s with compilation, last loss {fit.history['nll'][-1]:.4f}")

# %%
jf.viz.curves(
    {name: (fit.history["step"], fit.history["nll"]) for name, (fit, _) in fits.items()},
    xlabel="step",
    ylabel="training loss, nats an image",
)

# %% [markdown]
# **Look at** the two lines: they are one line. A mesh changes where the sums are computed, not
# what is computed; what is left is rounding.
#
# ## bfloat16
#
# TPUs and recent GPUs multiply in bfloat16 several times as fast as in float32. Tell the
# convolutions to; the weights, the optimizer and all probabilities stay in float32.

# %%
half = jf.FractalNet(
    10,
    columns=2,
    widths=WIDTHS,
    norm="group",
    conv=partial(jf.nn.Conv, dtype=jnp.bfloat16),
)
half_model = jf.fractal_model(half, **beliefs, global_rate=0.0)
half_fit, seconds = train(half_model, all_devices)
print({leaf.dtype.name for leaf in jax.tree.leaves(half_fit.posterior.mean())}, "weights")
for name, m, fit in (
    ("float32", model, fits["all devices"][0]),
    ("bfloat16", half_model, half_fit),
):
    p = jf.predict(m, fit.posterior, x_test, key, num_samples=1, batch_size=batch)
    print(f"{name:9} accuracy {jf.metrics.accuracy(p.probs, y_test):.1%} on {data.name}")

# %% [markdown]
# ## Members on devices
#
# An ensemble needs no communication at all: give each device its members.

# %%
ensemble = jf.ensemble(jf.maximum_a_posteriori(model, optax.adam(3e-3)), num_members=len(devices))
starts = lambda key: net.init(key, x[:1])
members = jf.fit(
    ensemble,
    starts,
    (x, y),
    key,
    num_epochs=EPOCHS,
    batch_size=batch,
    mesh=Mesh(devices, ("members",)),
).posterior

# %% [markdown]
# ## Predictions and chains
#
# `predict` takes a mesh, too: along `data` each device takes a part of the images, along
# `samples` a part of the draws. Markov chains take the devices themselves.

# %%
p = jf.predict(
    model,
    members,
    x_test,
    key,
    num_samples=len(devices),
    mesh=Mesh(devices, ("samples",)),
)
print(f"ensemble of {len(devices)}: accuracy {jf.metrics.accuracy(p.probs, y_test):.1%}")

small = jf.FractalNet(10, columns=2, widths=(4,), unit=jf.nn.DenseUnit, norm="none")
flat = x.reshape(len(x), -1)[:100]
chains = jf.nuts(
    jf.Model(small.apply, **beliefs),
    (flat, y[:100]),
    key,
    starts=lambda key: small.init(key, flat)["params"],
    num_chains=len(devices),
    num_warmup=5 * EPOCHS,
    num_draws=5 * EPOCHS,
    max_tree_depth=4,
    devices=list(devices),
)
print(f"{chains.num_chains} chains of {chains.num_draws} draws on {len(devices)} devices")

# %% [markdown]
# These chains are too short to be a reference; `how_good_is_my_posterior` shows when they are.
#
# ## What is known
#
# Training, prediction and chains over several devices, and over several processes, are tested on
# CPUs. jfractal has not been timed on a GPU or a TPU yet. If you time it, please tell us.
#
# On several hosts, call `jax.distributed.initialize()` first in each process, and `jf.fit` with
# equal arguments in all of them; `jax.devices()` then holds the devices of all hosts.
