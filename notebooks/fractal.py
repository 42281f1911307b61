# %% [markdown]
# # One network, many depths
#
# FractalNet grows a network by a rule: beside each layer stand two layers in series, and where
# the paths meet, they are averaged. Every *column* of the result is a network of its own, of 1,
# 2, 4, … layers a block, and all of them share one set of weights. Train once, and choose the
# depth when you predict. It takes about three minutes on a CPU.

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
import matplotlib.pyplot as plt
import numpy as np
import optax

import jfractal as jf
from jfractal import topology

EPOCHS, DRAWS, WIDTHS = 15, 32, (8, 16)
if "JFRACTAL_QUICK" in os.environ:  # so that the tests of jfractal need not wait
    EPOCHS, DRAWS, WIDTHS = 1, 4, (4,)

# %% [markdown]
# ## An architecture is an expression
#
# `topology` is plain Python. A rule returns an expression, and functions read it: they count, cut
# and draw. The number in front of a column is its number; boxes of one colour belong to it.

# %%
block = topology.fractal(columns=3)
print(f"{topology.depth(block)} units deep, {topology.num_paths(block)} paths,", end=" ")
print(f"a path of n units occurs this often: {topology.path_lengths(block)}")
jf.viz.structure(block)

# %% [markdown]
# **Look at** the bars. Each is a join: it averages what comes in from above. Column 1 is one
# unit, column 2 is two, column 3 is four, and they meet where their units end together.
#
# ## A network of such blocks
#
# A net is one block after another, each wider than the one before, with a pooling between them.
# This one reads the 8 × 8 digits of scikit-learn, which need no network connection.

# %%
net = jf.FractalNet(10, columns=3, widths=WIDTHS, norm="group")
print(f"{net.num_params((8, 8, 1)):,} weights, {net.depth()} layers along the deepest path")
jf.viz.structure(net)

# %% [markdown]
# ## Train once
#
# `fractal_model` trains the whole net and each column alone. With `two_pass`, every step does all
# of it; the rule of the paper, `sampled`, draws one route a step and is cheaper. In the whole net
# a random part of the inputs of every join is dropped (*drop-path*), so that no path relies on
# another.

# %%
digits = jf.data.digits()
mean, std = jf.data.channel_moments(digits.train_images)
x = jf.data.standardise(digits.train_images, mean, std)
x_test = jf.data.standardise(digits.test_images, mean, std)
y, y_test = digits.train_labels, digits.test_labels

model = jf.fractal_model(
    net,
    prior=jf.priors.Gaussian(1.0),
    likelihood=jf.likelihoods.Categorical(),
    routes="two_pass",
)
routes = {f"column {c}": net.column(c).apply for c in net.columns} | {"whole net": net.apply}
key = jax.random.key(0)


def accuracies(posterior):
    answers = {
        name: jf.predict(apply, posterior, x_test, key, num_samples=1)
        for name, apply in routes.items()
    }
    return {name: float(jf.metrics.accuracy(p.probs, y_test)) for name, p in answers.items()}


fit = jf.fit(
    jf.maximum_a_posteriori(model, optax.adam(optax.cosine_decay_schedule(3e-3, EPOCHS * 28))),
    net.init(key, x[:1]),
    (x, y),
    key,
    num_epochs=EPOCHS,
    batch_size=50,
    validation=accuracies,
)
jf.viz.curves(
    {name: (fit.history["validation/epoch"], fit.history[f"validation/{name}"]) for name in routes},
    xlabel="epoch",
    ylabel="test accuracy",
)

# %% [markdown]
# **Look at** the right ends. Columns 2 and 3 end beside the whole net. Column 1 is a net of two
# layers, and ends below. Four networks came out of one training.
#
# ## Choose the depth when you predict
#
# Each column has its price. `num_flops` counts it.

# %%
for name, accuracy in accuracies(fit.posterior).items():
    column = int(name[-1]) if name.startswith("column") else None
    mflops = net.num_flops((8, 8, 1), column=column) / 1e6
    print(f"{name:10}  {mflops:5.2f} MFLOPs an image   {accuracy:.1%}")

# %% [markdown]
# ## Let the image choose
#
# `early_exit` asks column 1 first. If it is sure enough, its answer stands; if not, the next
# column is asked. Easy images stay cheap.

# %%
thresholds = [0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0]
answers = [
    jf.anytime.early_exit(model, fit.posterior, x_test, key, threshold=t) for t in thresholds
]
cost = [answer.flops.mean() / 1e6 for answer in answers]
right = [float((answer.probs.argmax(-1) == y_test).mean()) for answer in answers]
jf.viz.curves(
    {"early exit": (cost, right)}, xlabel="MFLOPs an image, on average", ylabel="test accuracy"
)

# %% [markdown]
# **Look at** the left end: that is column 1 for everybody. A little more work for a few images
# buys most of the accuracy. Which images are those?

# %%
answer = answers[thresholds.index(0.8)]
figure, axes = plt.subplots(2, 8, figsize=(9, 2.8), layout="constrained")
for row, column in zip(axes, (1, 3)):
    shown = np.flatnonzero(answer.column == column)[:8]
    for axis in row:
        axis.axis("off")
    for axis, i in zip(row, shown):
        axis.imshow(digits.test_images[i, ..., 0], cmap="gray_r")
    share = (answer.column == column).mean()
    row[0].set_title(f"column {column} answered {share:.0%}", loc="left", fontsize=9)

# %% [markdown]
# ## A posterior for free
#
# Training dropped paths at random, so the network is an average over sub-networks. Go on dropping
# when you predict, and their disagreement is an uncertainty (*drop-path Monte Carlo*). Hollow
# boxes are what one such draw leaves out.

# %%
posterior = jf.sub_networks(net, fit.posterior, rate=0.15)
p = jf.predict(model, posterior, x_test, key, num_samples=DRAWS)
wrong = np.asarray(p.probs.argmax(-1)) != y_test
print(f"epistemic entropy: {p.epistemic[~wrong].mean():.3f} nats where it is right,", end=" ")
print(f"{p.epistemic[wrong].mean() if wrong.any() else float('nan'):.3f} where it is wrong")
alive = jf.sub_networks(net, fit.posterior, rate=0.4).sample(jax.random.key(2))["drop_path"]
jf.viz.structure(net, alive=alive)

# %% [markdown]
# ## A Gaussian for every weight
#
# A Bayesian net has the same tree of weights, with a Gaussian in the place of every array. So
# training can go on from the weights that we have, and every column has a posterior.

# %%
method = jf.variational(model, optax.adam(1e-3), scale=0.03, kl_weight=0.01)
start = fit.posterior.variables
q = jf.fit(method, start, (x, y), key, num_epochs=EPOCHS // 3 or 1, batch_size=50).posterior
for name, apply in routes.items():
    p = jf.predict(apply, q, x_test, key, num_samples=DRAWS)
    print(
        f"{name:10}  {jf.metrics.accuracy(p.probs, y_test):.1%}, calibration error"
        f" {jf.metrics.ece(p.probs, y_test):.3f}, epistemic {p.epistemic.mean():.3f} nats"
    )

# %% [markdown]
# The columns keep their accuracy and now say how far their draws disagree. After so few epochs
# they are underconfident, column 1 the most; a temperature repairs that, as `quickstart` shows.
#
# With `conv=jf.BayesConv` a net has Gaussian weights from the start, and its layers can draw them
# in cheaper ways (`estimator="flipout"`, `"local_reparam"`).
#
# ## A rule of your own
#
# A rule is a function that returns an expression. FractalNet puts two copies in series; here are
# three. It names its columns, so they run alone; it has joins, so paths can be dropped.


# %%
def threefold(columns, column=1, name="unit"):
    unit = topology.Unit(name, column)
    if column == columns:
        return unit
    copies = tuple(threefold(columns, column + 1, name + i) for i in "abc")
    return topology.Join((unit, topology.Seq(copies)))


mine = jf.nn.block_net(threefold(3), num_classes=10, widths=(8, 16))
print(f"columns {mine.columns} of {[mine.depth(column=c) for c in mine.columns]} layers")
jf.viz.structure(threefold(3))

# %% [markdown]
# ## Next
#
# - `bring_your_own_model`: networks of other frameworks, and trained ones.
# - *Fractal nets in ten minutes* (`docs/fractal_nets.md`) has all joins, units and folds.
