# %% [markdown]
# # Quick start: any Flax model becomes Bayesian
#
# A neural network gives one answer and does not say how far to trust it. A *Bayesian* network is
# many networks: those that the data allow. Where they agree, the answer is safe; where they
# disagree, the data did not settle it.
#
# This notebook takes an ordinary Flax network, turns it into a Bayesian one in two lines, asks it
# about digits that it knows and digits that it has never seen, and checks whether its
# probabilities can be believed. It takes about two minutes on a CPU.

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
import flax.linen as nn
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import jfractal as jf

EPOCHS, DRAWS = 60, 100
if "JFRACTAL_QUICK" in os.environ:  # so that the tests of jfractal need not wait
    EPOCHS, DRAWS = 2, 8

# %% [markdown]
# ## Data
#
# The 1,797 handwritten digits of scikit-learn need no network. We take every 8 and every 9 away:
# the net will never see one, and we will ask it about them later. We also set 200 training images
# aside to calibrate with, and train on few of the rest, so that there is something to be unsure
# of.

# %%
digits, unseen = jf.data.hold_out_classes(jf.data.digits(), [8, 9])
learn, held = jf.data.split_validation(digits.train_labels, num_validation=200, seed=0)
learn = learn[:300]


def flat(images):
    return jnp.asarray(images.reshape(len(images), -1) / 255.0)


x, y = flat(digits.train_images[learn]), digits.train_labels[learn]
x_held, y_held = flat(digits.train_images[held]), digits.train_labels[held]
x_test, y_test = flat(digits.test_images), digits.test_labels
x_unseen = flat(unseen)
digits

# %% [markdown]
# ## Your network, twice
#
# The network is yours: jfractal asks for `net.apply` and nothing else. A `Model` adds two
# statements: what we believe about a weight before we see data (the *prior*), and how the outputs
# speak of the targets (the *likelihood*).

# %%
net = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(64), nn.relu, nn.Dense(8)])
model = jf.Model(net.apply, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical())

# %% [markdown]
# A *method* says how to find the posterior. `maximum_a_posteriori` is ordinary training: it ends
# in one network. `variational` ends in a Gaussian for every weight. Both run in the same loop.

# %%
key = jax.random.key(0)
params = net.init(key, x)["params"]
adam = optax.adam(3e-3)
methods = {
    "one network": jf.maximum_a_posteriori(model, adam),
    "Bayesian": jf.variational(model, adam, scale=0.02, kl_weight=0.1),
}
fits = {
    name: jf.fit(method, params, (x, y), key, num_epochs=EPOCHS, batch_size=50)
    for name, method in methods.items()
}
fits["Bayesian"]

# %%
losses = {name: (fit.history["step"], fit.history["nll"]) for name, fit in fits.items()}
jf.viz.curves(losses, xlabel="step", ylabel="training loss, nats an image", logy=True)

# %% [markdown]
# **Look at** the two lines. Both networks learn the 300 images almost by heart. The Bayesian line
# is noisier, because every step draws its weights anew. (`kl_weight=0.1` makes the posterior a
# *cold* one: with 9,000 weights and 300 images, a factor of 1 would leave most weights at their
# prior.)
#
# ## Predict
#
# `predict` draws networks from the posterior, runs them all at once, and averages their
# probabilities. One network needs one draw.

# %%
predictions = {
    name: jf.predict(model, fit.posterior, x_test, key, num_samples=DRAWS)
    for name, fit in fits.items()
}
for name, p in predictions.items():
    accuracy = jf.metrics.accuracy(p.probs, y_test)
    nll = jf.metrics.nll(p.log_probs, y_test)
    print(f"{name:12}  accuracy {accuracy:.1%}   {nll:.3f} nats an image")

# %% [markdown]
# The prediction also says where its uncertainty comes from. `entropy` is all of it. `epistemic`
# is the part on which the drawn networks disagree: more data would remove it. `aleatoric` is the
# rest, on which they agree: the image itself is ambiguous.

# %%
p = predictions["Bayesian"]
hardest = np.argsort(-np.asarray(p.entropy))[:8]
figure, axes = plt.subplots(1, 8, figsize=(10, 1.8))
for axis, i in zip(axes, hardest):
    said = int(p.probs[i].argmax())
    axis.imshow(digits.test_images[i, ..., 0], cmap="gray_r")
    axis.set_title(f"is {y_test[i]}, said {said}\n({p.probs[i, said]:.0%})", fontsize=8)
    axis.axis("off")

# %% [markdown]
# **Look at** the eight test images with the highest entropy. Most would make a person hesitate,
# too.
#
# ## Digits that it has never seen
#
# There is no right answer for an 8 or a 9: the network has no such class. A good posterior
# notices that the question is strange.

# %%
strange = jf.predict(model, fits["Bayesian"].posterior, x_unseen, key, num_samples=DRAWS)
groups = {"digits 0 to 7": p.epistemic, "8 and 9, never seen": strange.epistemic}
jf.viz.score_histograms(groups, xlabel="epistemic entropy, nats")

# %%
auroc = jf.metrics.auroc(p.epistemic, strange.epistemic)
print(f"A random 8 or 9 is stranger than a random known digit in {auroc:.0%} of all pairs.")

# %% [markdown]
# ## Can the probabilities be believed?
#
# Of the images that a network names with 80 % confidence, 80 % should be named rightly. A
# reliability diagram compares the two, bin by bin.

# %%
diagrams = {
    name: jf.metrics.reliability(p.probs, y_test, num_bins=10) for name, p in predictions.items()
}
jf.viz.reliability_diagram(diagrams)

# %% [markdown]
# **Look at** where the bars end. A bar below the diagonal is overconfident, a bar above it is
# underconfident. The lower panel says how many images a bar stands for: a bar for three images
# means little.
#
# One number can repair much of it. The *temperature* is fitted on the images that were set aside,
# and never on the test set. Above 1 it makes a network less sure, below 1 surer.

# %%
for name, fit in fits.items():
    on_held = jf.predict(model, fit.posterior, x_held, key, num_samples=DRAWS)
    temperature = jf.metrics.fit_temperature(on_held.log_probs, y_held)
    before = predictions[name].log_probs
    after = jf.metrics.tempered(before, temperature)
    print(
        f"{name:12}  temperature {temperature:.2f}, calibration error"
        f" {jf.metrics.ece(jnp.exp(before), y_test):.3f} before,"
        f" {jf.metrics.ece(jnp.exp(after), y_test):.3f} after"
    )

# %% [markdown]
# It helps the single network. The Bayesian one was calibrated before, and 289 images are too few
# to tell two errors of a few hundredths apart.
#
# If you need a guarantee instead of a probability, ask for a *set* of classes. Conformal sets
# hold the right class with the probability that you choose, whatever the network is worth; a
# better network has smaller sets.

# %%
on_held = jf.predict(model, fits["Bayesian"].posterior, x_held, key, num_samples=DRAWS)
threshold = jf.metrics.conformal_threshold(on_held.probs, y_held, alpha=0.01)
sets = jf.metrics.prediction_sets(p.probs, threshold)
covered = sets[jnp.arange(len(y_test)), y_test].mean()
print(
    f"{covered:.1%} of the sets hold the right digit;"
    f" a set holds {sets.sum(1).mean():.2f} digits on average."
)

# %% [markdown]
# ## Keep it
#
# A posterior is one file, read without pickle in any process.

# %%
fits["Bayesian"].posterior.save("digits.npz")
jf.load("digits.npz")

# %% [markdown]
# ## Another posterior
#
# Every method is used in the same way. Here are five networks in place of one; `jf.ivon`,
# `jf.swag`, `jf.sghmc`, `jf.mc_dropout` go in the same place.

# %%
start = lambda key: net.init(key, x)["params"]  # every member has a start of its own
ensemble = jf.ensemble(methods["one network"], num_members=5)
five = jf.fit(ensemble, start, (x, y), key, num_epochs=EPOCHS, batch_size=50).posterior
p = jf.predict(model, five, x_test, key, num_samples=5)
strange_to_five = jf.predict(model, five, x_unseen, key, num_samples=5)

one = jf.predict(model, fits["one network"].posterior, x_unseen, key, num_samples=1)
by_one = jf.metrics.auroc(predictions["one network"].entropy, one.entropy)
by_five = jf.metrics.auroc(p.epistemic, strange_to_five.epistemic)
print("How often the unseen digit of a pair is the stranger one:")
print(
    f"entropy of one network {by_one:.1%}, disagreement of the Bayesian one {auroc:.1%},", end=" "
)
print(f"disagreement of five {by_five:.1%}")

# %% [markdown]
# Which posterior is best depends on the problem, and here a single network is not far behind.
# That is why jfractal has many, and a way to measure them.
#
# ## Next
#
# - `fractal`: one network with many depths, and a posterior over all of them.
# - `bring_your_own_model`: BatchNorm, NNX, Equinox, and networks that somebody else trained.
# - `how_good_is_my_posterior`: how far the cheap posteriors are from the exact one.
