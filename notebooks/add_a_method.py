# %% [markdown]
# # Add a method, a prior and a rule
#
# jfractal is meant to be added to. This notebook adds a way to find a posterior, a prior over
# weights, and a rule that grows networks, each in about ten lines, and puts them to problems
# whose answer is known. None of them is registered anywhere: a method is three functions, a prior
# is a density, a rule is a function. It takes about two minutes on a CPU.

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
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.scipy import stats

import jfractal as jf
from jfractal import testing, topology
from jfractal.topology import Join, Seq, Unit

STEPS, DRAWS, SIMULATIONS = 400, 1000, 200
if "JFRACTAL_QUICK" in os.environ:  # so that the tests of jfractal need not wait
    STEPS, DRAWS, SIMULATIONS = 200, 300, 40

# %% [markdown]
# ## A method
#
# The idea, *randomised maximum a posteriori*: pull each network towards a draw from the prior
# instead of towards zero, add noise to its targets, and train it as usual. For a linear model
# each such network is an exact draw from the posterior.
#
# A method has a state, which is a tree of arrays, and three pure functions: `init` makes the
# first state, `update` takes a step on a batch, `posterior` says what was found. It runs in
# `jf.fit`, in `jf.ensemble`, under `jit` and `vmap`, with checkpoints and on many devices,
# because they ask for no more than that.


# %%
class Randomised(NamedTuple):
    params: Any
    anchor: Any  # a draw from the prior
    noise: jax.Array  # the key of the noise on the targets
    opt_state: Any


def randomised(model, optimizer, *, prior_scale, noise_scale):
    def init(params, key):
        key_start, key_anchor, key_noise = jax.random.split(key, 3)
        weights = params(key_start)
        flat, tree = ravel_pytree(weights)
        anchor = tree(prior_scale * jax.random.normal(key_anchor, flat.shape))
        return Randomised(weights, anchor, key_noise, optimizer.init(weights))

    def loss(params, state, x, y):
        noisy = y + noise_scale * jax.random.normal(state.noise, y.shape)
        fits = model.log_likelihood({"params": params}, (x, noisy)).sum()
        pull = jax.tree.map(jnp.subtract, params, state.anchor)
        return -(fits + model.prior.tree_log_prob(pull)) / len(y)

    def update(state, batch, key, num_data=None):
        value, slope = jax.value_and_grad(loss)(state.params, state, *batch)
        change, opt_state = optimizer.update(slope, state.opt_state, state.params)
        params = optax.apply_updates(state.params, change)
        return state._replace(params=params, opt_state=opt_state), {"loss": value}

    def posterior(state):
        return jf.Point({"params": state.params})

    return jf.Method("randomised MAP", model, init, update, posterior)


# %% [markdown]
# ## Is it right?
#
# `jf.testing` has problems whose posterior is known in closed form. A method is given to it as a
# function `fit(model, start, data, key) -> posterior`.

# %%
problem = testing.ConjugateRegression.random(jax.random.key(7))
schedule = optax.cosine_decay_schedule(0.1, STEPS)
key = jax.random.key(0)


def fit_randomised(model, start, data, key, *, noise_scale=problem.noise_scale, num_draws=DRAWS):
    one = randomised(
        model,
        optax.adam(schedule),
        prior_scale=problem.prior_scale,
        noise_scale=noise_scale,
    )
    many = jf.ensemble(one, num_members=num_draws)
    take_step = lambda state, key: many.update(state, data, key)
    state, _ = jax.lax.scan(take_step, many.init(start, key), jax.random.split(key, STEPS))
    return jf.Samples(state.params)  # every network is a draw


testing.assert_exact(fit_randomised, problem, key)
print("Mean and covariance are those of the exact posterior.")

# %% [markdown]
# A test is worth something only if it can fail. Without the noise on the targets, the networks
# differ by their anchors alone, and lie too close together.

# %%
try:
    testing.assert_exact(
        lambda *arguments: fit_randomised(*arguments, noise_scale=0.0), problem, key
    )
except AssertionError as error:
    print(f"Found: {error}")

# %% [markdown]
# Moments are not everything. Over hundreds of simulated data sets, the true weights must rank
# anywhere among the draws, equally often.


# %%
def few_draws(*arguments):
    return fit_randomised(*arguments, num_draws=99)


def without_noise(*arguments):
    return fit_randomised(*arguments, noise_scale=0.0, num_draws=99)


calibrations = {
    name: testing.simulate_ranks(fit, problem.simulator, key, num_simulations=SIMULATIONS)
    for name, fit in {"with noise": few_draws, "without": without_noise}.items()
}
jf.viz.rank_histograms(calibrations)

# %% [markdown]
# **Look at** the two rows. Flat bars inside the grey band are what a right method shows. The ∪ of
# the second row says that the truth is too often outside of all draws.
#
# ## A prior
#
# A prior is a density of the entries of a leaf. The logistic distribution looks like a Gaussian
# with heavier tails. Every method takes it; where a KL has no closed form, it is estimated by a
# draw.


# %%
@dataclass(frozen=True)
class Logistic(jf.priors.Prior):
    scale: float = 1.0

    def log_prob(self, w):
        return stats.logistic.logpdf(w, scale=self.scale)


w = jnp.linspace(-60, 60, 20_001)
print(f"It integrates to {jnp.trapezoid(jnp.exp(Logistic(1.5).log_prob(w)), w):.4f}.")

# %% [markdown]
# The KL from a Gaussian is an integral, which we can compute in another way, and compare.

# %%
q = jf.mean_field({"w": jnp.full(50_000, 0.7)}, scale=0.4)
drawn = jf.kl(q, Logistic(1.5), key) / 50_000
density = jnp.exp(stats.norm.logpdf(w, 0.7, 0.4))
ratio = stats.norm.logpdf(w, 0.7, 0.4) - Logistic(1.5).log_prob(w)
print(
    f"KL of a weight: {drawn:.4f} nats by draws,"
    f" {jnp.trapezoid(density * ratio, w):.4f} by quadrature"
)

# %% [markdown]
# Calibration tests a prior, too: let it draw the true weights, and let a sampler that is given
# the prior find them again. SGLD stands in for the sampler, because hundreds of its chains are
# one program.

# %%
prior = Logistic(0.8)
x = problem.x
model = jf.Model(problem.net.apply, prior=prior, likelihood=jf.likelihoods.Gaussian(0.5))


def draw_weights(key):
    flat, tree = ravel_pytree(problem.start(key))
    return tree(0.8 * jax.random.logistic(key, flat.shape))


def draw_targets(key, outputs):
    return outputs + 0.5 * jax.random.normal(key, outputs.shape)


def sgld(model, start, data, key):
    method = jf.sgld(
        model, learning_rate=0.01, num_warmup=4 * STEPS, num_draws=99, thinning=STEPS // 5
    )
    take_step = lambda state, key: method.update(state, data, key)
    keys = jax.random.split(key, 24 * STEPS)
    state, _ = jax.lax.scan(take_step, method.init(start, key), keys)
    return method.posterior(state)


simulator = testing.Simulator(model, x, draw_weights, draw_targets)
calibration = testing.simulate_ranks(sgld, simulator, key, num_simulations=SIMULATIONS)
print(f"p = {calibration.p_value:.2f};", calibration.reasons() or "nothing speaks against it")

# %% [markdown]
# ## A rule
#
# FractalNet's rule puts two copies of a net in series. Here a longer copy and a shorter one
# follow each other, so that depths are Fibonacci numbers.


# %%
def fibonacci(level, name="unit"):
    if level <= 2:
        return Unit(name)
    long, short = fibonacci(level - 1, name + "a"), fibonacci(level - 2, name + "b")
    return Join((Unit(name), Seq((long, short))))


depths = [topology.depth(fibonacci(level)) for level in range(1, 9)]
print("depths", depths)
jf.viz.structure(fibonacci(6))

# %% [markdown]
# The number of paths obeys the rule itself: one past the side unit, and every long path with
# every short one. `evaluate` runs an expression with units and joins of your choice; if a unit
# passes on what it gets and a join adds, it counts paths.

# %%
paths = [1, 1]
for _ in range(6):
    paths.append(1 + paths[-1] * paths[-2])
counted = [
    topology.evaluate(
        fibonacci(level), 1, unit=lambda unit, n: n, join=lambda join, inputs: sum(inputs)
    )
    for level in range(1, 9)
]
assert depths == [1, 1, 2, 3, 5, 8, 13, 21] and counted == paths
print("paths", counted)

# %% [markdown]
# Any network of blocks takes the rule, and its joins can drop paths, so it has a posterior over
# its sub-networks at once.

# %%
net = jf.nn.block_net(fibonacci(5), num_classes=10, widths=(8, 16), norm="group")
images = jnp.zeros((2, 8, 8, 1))
variables = net.init(key, images)
posterior = jf.sub_networks(net, jf.Point(variables), rate=0.3)
p = jf.predict(net.apply, posterior, images, key, num_samples=8)
print(f"{net.num_params((8, 8, 1)):,} weights, {net.depth()} layers, probabilities {p.probs.shape}")

# %% [markdown]
# ## If it should become part of jfractal
#
# `CONTRIBUTING.md` says how. A method is one file with the equation in its docstring, and the
# tests that this notebook ran are the ones it has to pass.
