# %% [markdown]
# # How good is my posterior?
#
# Every cheap posterior is an approximation. For a small network the exact posterior can be
# sampled, so the error can be measured instead of guessed. This notebook samples it by NUTS,
# checks that the sampler may be trusted, compares four cheap posteriors with it, and then tests a
# method where not even NUTS is needed. It takes about three minutes on a CPU.

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
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

import jfractal as jf
from jfractal import testing

STEPS, WARMUP, CHAIN, SIMULATIONS = 2000, 300, 600, 400
if "JFRACTAL_QUICK" in os.environ:  # so that the tests of jfractal need not wait
    STEPS, WARMUP, CHAIN, SIMULATIONS = 20, 10, 10, 20

# %% [markdown]
# ## A problem that fits on a page
#
# Thirty points of a curve, with a gap in the middle. In the gap a good posterior must open up.

# %%
key = jax.random.key(0)
places = jax.random.uniform(key, (30,), minval=0.5, maxval=1.2)
x = jnp.where(jnp.arange(30) % 2 == 0, places, -places)[:, None]
y = jnp.sin(4 * x) + 0.2 * jax.random.normal(jax.random.key(1), x.shape)
grid = jnp.linspace(-1.8, 1.8, 101)[:, None]

net = nn.Sequential([nn.Dense(10), nn.tanh, nn.Dense(1)])
model = jf.Model(net.apply, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Gaussian(0.2))
starts = lambda key: net.init(key, x)["params"]

# %% [markdown]
# ## The exact posterior, and whether to trust it
#
# NUTS draws networks from the posterior itself. Four chains start far apart. If they agree, they
# have found the posterior; if not, the reference is worth nothing, and `diagnose` says so. Ask it
# about *predictions*: hidden units can change places without changing the network, so a single
# weight need not agree.

# %%
chains = jf.nuts(
    model, (x, y), key, starts=starts, num_warmup=WARMUP, num_draws=CHAIN, max_tree_depth=8
)
outputs = chains.outputs(net.apply, grid)
diagnosis = chains.diagnose(outputs)
print(diagnosis)
print(f"R-hat of the worst prediction {diagnosis.figures['rhat_predictions']:.3f}", end=", ")
print(f"{diagnosis.figures['num_gradients']:,.0f} gradients over all data")

# %%
worst = int(np.argmax(jf.metrics.rhat(outputs[..., 0])))
jf.viz.traces({f"curve at x = {grid[worst, 0]:.1f}": outputs[..., worst, 0]})

# %% [markdown]
# **Look at** the traces. Chains that agree look like one band of noise; a chain that stays on a
# level of its own has not converged.
#
# ## Four cheap posteriors

# %%
adam = optax.adam(1e-2)
point = jf.maximum_a_posteriori(model, adam)
methods = {
    "mean field": jf.variational(model, adam, scale=0.05, num_samples=4),
    "ensemble": jf.ensemble(point, num_members=20),
    "SGHMC": jf.sghmc(
        model, learning_rate=2e-3, num_warmup=STEPS // 2, num_draws=100, thinning=STEPS // 200 or 1
    ),
}
posteriors = {
    name: jf.fit(method, starts, (x, y), key, num_steps=STEPS).posterior
    for name, method in methods.items()
}
trained = jf.fit(point, starts, (x, y), key, num_steps=STEPS).posterior
posteriors["Laplace"] = jf.laplace(model, trained.mean(), (x, y))
posteriors["NUTS"] = chains
predictions = {
    name: jf.predict(model, posterior, grid, key, num_samples=400)
    for name, posterior in posteriors.items()
}


# %%
def band(p):
    wide, half = p.credible_interval(0.95), p.credible_interval(0.5)
    curves = p.mean, wide.lower, half.lower, half.upper, wide.upper
    return jf.viz.Band(*(np.asarray(curve[:, 0]) for curve in curves))


jf.viz.predictive_bands(
    grid[:, 0], {name: band(p) for name, p in predictions.items()}, x[:, 0], y[:, 0]
)

# %% [markdown]
# **Look at** the gap in the middle and at the edges, and compare each panel with NUTS on the
# right. Where there are data, all agree. In the gap the ensemble is too narrow, and Laplace opens
# too wide. At the edges the mean field hardly opens: each of its weights is as narrow as it would
# be if all the others were known.
#
# ## A number for each
#
# For regression the distance between two predictive distributions is the 2-Wasserstein distance,
# in the units of the target. The last row is what one half of the chains reaches against the
# other: nothing can be seen to be closer than that.

# %%
exact = predictions["NUTS"].means[..., 0]
rows = {
    name: jf.metrics.wasserstein(p.means[..., 0], exact)
    for name, p in predictions.items()
    if name != "NUTS"
}
first, second = (outputs[half, ..., 0].reshape(-1, len(grid)) for half in (slice(2), slice(2, 4)))
rows["half of NUTS"] = jf.metrics.wasserstein(first, second)
jf.viz.intervals(
    {name: (float(d.mean()), float(d.std() / len(d) ** 0.5)) for name, d in rows.items()},
    xlabel="2-Wasserstein distance to NUTS, mean over the grid",
)

# %% [markdown]
# For a classifier the same comparison is `jf.metrics.compare`: agreement, total variation and
# differences of accuracy, each with its interval, and `jf.metrics.ceiling` is the last row.
# `jf.reference.save` keeps a reference on disk, with everything that it is a reference for.
#
# ## Calibration by simulation
#
# There is a test that needs no reference. Draw weights from the prior and data from the
# likelihood, and fit the method. If its posterior is right, the true weights are one more draw
# from it: over many such data sets, the *rank* of the truth among the draws is uniform.

# %%
t = jnp.linspace(0, 1, 20)
problem = testing.ConjugateRegression(jnp.stack([t, t**2], 1), jnp.zeros((20, 1)))


def mean_field(model, start, data, key):
    method = jf.variational(model, optax.adam(3e-2), scale=0.1, num_samples=4)
    state = method.init(start, key)

    def step(state, key):
        return method.update(state, data, key)

    state, _ = jax.lax.scan(step, state, jax.random.split(key, STEPS // 2))
    return method.posterior(state)


def laplace(model, start, data, key):
    w, tree = ravel_pytree(start(key))
    log_joint = lambda w: model.log_joint(tree(w), data)
    # One step of Newton's method finds the mode of a linear model.
    mode = w - jnp.linalg.solve(jax.hessian(log_joint)(w), jax.grad(log_joint)(w))
    return jf.laplace(model, tree(mode), data)


calibrations = {
    name: testing.simulate_ranks(fit, problem.simulator, key, num_simulations=SIMULATIONS)
    for name, fit in {"mean field": mean_field, "Laplace": laplace}.items()
}
jf.viz.rank_histograms(calibrations)

# %% [markdown]
# **Look at** the shapes. Bars inside the grey band are uniform: the method is calibrated. A ∪
# says that the draws lie too close together, a ∩ that they lie too far apart, a slope that they
# are off to one side. Red bars are outside the band.

# %%
for name, calibration in calibrations.items():
    reasons = calibration.reasons()
    print(f"{name}: {'; '.join(reasons) if reasons else 'nothing speaks against it'}\n")

# %% [markdown]
# The posterior of a linear model is a Gaussian, so Laplace's approximation is exact, and the test
# finds nothing. The mean field ignores that the three weights of this parabola depend on each
# other. At the left end of the data, `f(x[0])`, its draws lie too close together; further right
# they lie too far apart.
#
# ## Next
#
# - `add_a_method`: put a method of your own to the same tests.
# - `docs/hmc.md`: chains that survive a crash, references on disk, and what was measured.
