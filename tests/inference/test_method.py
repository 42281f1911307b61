"""What a method promises to whoever drives it."""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import jfractal as jf
from jfractal.identity import ByContent
from tests.inference.methods import LIKELIHOOD, METHODS, PRIOR

KEY = jax.random.key(0)
X, Y = jax.random.normal(KEY, (8, 4, 4, 1)), jnp.arange(8) % 3


class Dropped(nn.Module):
    """A dense net with dropout and batch norm."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(4)(x.reshape(len(x), -1))
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(x))


FRACTAL = jf.FractalNet(3, columns=2, widths=(2,))


@pytest.fixture(scope="module", params=METHODS)
def method(request):
    """Each method, on a net that has all that it can deal with."""
    if request.param == "mc_drop_path":
        model = jf.fractal_model(FRACTAL, prior=PRIOR, likelihood=LIKELIHOOD)
    else:
        model = jf.Model.from_linen(Dropped(), prior=PRIOR, likelihood=LIKELIHOOD)
    return METHODS[request.param](model)


@pytest.fixture(scope="module")
def starts():
    """Variables of both nets; made once."""
    nets = {jf.Model: Dropped(), jf.FractalModel: FRACTAL}
    return {kind: jax.jit(net.init)(KEY, X) for kind, net in nets.items()}


@pytest.fixture(scope="module")
def state(method, starts):
    return method.init(starts[type(method.model)], KEY)


def types(tree):
    return jax.tree.map(jax.typeof, tree)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_step_keeps_shapes_and_dtypes(method, starts, dtype):
    """So that it can be scanned, and a checkpoint of any step is the template of any other."""
    start = starts[type(method.model)]
    start = {**start, "params": jax.tree.map(lambda w: w.astype(dtype), start["params"])}
    state = jax.eval_shape(method.init, start, KEY)
    for num_data in (None, 100):
        after, info = jax.eval_shape(partial(method.update, num_data=num_data), state, (X, Y), KEY)
        chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
        assert {"loss", "nll"} <= set(info)


def test_scan_vmap_and_shard_map_are_steps_in_turn(method, state):
    keys = jax.random.split(KEY, (2, 2))

    def scanned(state, keys):
        return jax.lax.scan(lambda s, key: method.update(s, (X, Y), key, 100), state, keys)

    update, ends = jax.jit(method.update), []
    for own in keys:
        end = state
        for key in own:
            end, info = update(end, (X, Y), key, 100)
        ends.append((end, info))
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ends)

    both = jax.vmap(scanned, (None, 0))
    mesh = Mesh(jax.devices()[:2], ("chains",))
    specs = {"in_specs": (P(), P("chains")), "out_specs": P("chains")}
    for run in (both, jax.shard_map(both, mesh=mesh, check_vma=False, **specs)):
        after, info = jax.jit(run)(state, keys)
        last = jax.tree.map(lambda x: x[:, -1], info)
        chex.assert_trees_all_close((after, last), expected, rtol=2e-2, atol=1e-4)


def test_no_key_is_used_twice(method, starts):
    """Not by a start, a step, jitted or not, or a draw.

    Over a run, JAX would call it reuse that each dispatch gets the key of the run, into which every
    step folds its own number.
    """
    key = jax.random.key
    with jax.debug_key_reuse(True):
        state = method.init(starts[type(method.model)], key(2))
        state, _ = jax.jit(method.update)(state, (X, Y), key(3))
        state, _ = method.update(state, (X, Y), key(4))
        posterior = method.posterior(state)
        posterior.sample(key(5))


# Learned routes are not among them: their columns share a key, to differ by their depth alone.
@pytest.mark.parametrize("routes", [None, "sampled", "two_pass", "partitioned"])
def test_no_key_is_used_twice_by_a_training_pass(starts, routes):
    if routes is None:
        model = jf.Model.from_linen(Dropped(), prior=PRIOR, likelihood=LIKELIHOOD)
    else:
        net = FRACTAL.clone(dropout=(0.5,))
        model = jf.fractal_model(net, prior=PRIOR, likelihood=LIKELIHOOD, routes=routes)
    start = starts[type(model)]
    with jax.debug_key_reuse(True):
        jax.jit(model.training_pass)(start, (X, Y), jax.random.key(0))
        model.training_pass(start, (X, Y), jax.random.key(1))


def test_keys_that_are_used_twice_would_be_seen():
    def twice(key):
        return jax.random.normal(key) + jax.random.uniform(key)

    with jax.debug_key_reuse(True), pytest.raises(jax.errors.KeyReuseError):
        jax.jit(twice)(jax.random.key(0))


def test_an_equal_call_compiles_once(starts):
    """With methods that were made alike, as a static argument; and not where one differs."""
    count = 0

    class Counted(jf.likelihoods.Categorical):
        def log_likelihood(self, outputs, targets):
            nonlocal count
            count += 1
            return super().log_likelihood(outputs, targets)

    @partial(jax.jit, static_argnums=0)
    def step(method, state, batch, key):
        return method.value.update(state, batch, key)

    likelihood, seen = Counted(), []
    for rate in (0.1, 0.1, 0.2):
        model = jf.Model.from_linen(Dropped(), prior=PRIOR, likelihood=likelihood)
        method = jf.swag(model, optax.sgd(rate))
        state = method.init(starts[jf.Model], KEY)
        for key in jax.random.split(KEY, 2):
            state, _ = step(ByContent(method), state, (X, Y), key)
        seen.append(count)
    assert seen[0] == seen[1] < seen[2] == 2 * seen[0]


WRONG = {
    "integers": jnp.arange(3),
    "booleans": jnp.ones(3, bool),
    "keys": jax.random.key(0),
    "complex numbers": jnp.ones(3, complex),
}


@pytest.mark.parametrize("kind", WRONG)
def test_weights_are_floating_point(method, kind):
    start = {"params": {"dense": {"kernel": jnp.ones((2, 2)), "extra": WRONG[kind]}}}
    with pytest.raises(jf.InputError, match=r"floating-point arrays, got .* at 'dense/extra'"):
        method.init(start, KEY)
    with pytest.raises(jf.InputError, match=r"floating-point arrays, got .* at 'dense/extra'"):
        method.init(lambda key: start["params"], KEY)


@pytest.mark.parametrize("start", [{}, {"params": {}}, {"params": {}, "batch_stats": {}}])
def test_no_weights_are_refused(method, start):
    with pytest.raises(jf.InputError, match="`params` must hold at least one array"):
        method.init(start, KEY)


def test_gaussian_weights_count_by_their_mean(method, starts):
    """But for the mean field, which keeps them: a Bayesian start does for every method."""
    variables = starts[type(method.model)]
    start = {**variables, "params": jf.mean_field(variables["params"], scale=0.1)}
    mean = method.posterior(method.init(start, KEY)).mean()
    chex.assert_trees_all_close(mean, variables["params"], rtol=1e-6)


def test_a_posterior_is_no_start(method, starts):
    """But that of an ensemble for another: a member for a member."""
    posterior = method.posterior(method.init(starts[type(method.model)], KEY))
    if method.num_members is not None:
        posterior = posterior.member(0)
    with pytest.raises(jf.InputError, match=r"a tree of weights, got a posterior.*mean\(\)"):
        method.init(posterior, KEY)


@pytest.mark.parametrize(
    ("batch", "num_data", "message"),
    [
        ((X, Y + 1), None, r"labels in \[0, 3\).* from 1 to 3"),
        ((X, Y - 1), None, r"labels in \[0, 3\).* from -1 to 1"),
        ((X, Y[:4]), None, "must have the same number of examples"),
        ((X.at[0].set(jnp.nan), Y), None, "the inputs must be finite"),
        (X, None, r"a batch must be a pair of inputs and targets, \(x, y\), got a"),
        ((X, Y), 7, "`num_data` must be at least 8"),
        ((X, Y), 8.5, "`num_data` must be an integer"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(method, state, batch, num_data, message):
    if method.name == "MC dropout" and "labels" in message:
        pytest.skip("the shares of a batch are mapped over, where values cannot be seen")
    run = partial(method.update, num_data=num_data)
    with pytest.raises(jf.InputError, match=message):
        jax.eval_shape(lambda state: run(state, batch, KEY), state)


@pytest.mark.parametrize("optimizer", [optax.adam, 1e-3, None])
def test_what_is_no_optimizer_is_refused(method, optimizer):
    with pytest.raises(jf.InputError, match="`optimizer` must be one of optax"):
        jf.maximum_a_posteriori(method.model, optimizer)


# Draws: what may not be shared. The net's outputs are its mask, so that they can be looked at.


class Mask(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        scale = self.param("scale", nn.initializers.ones, (1, 64))
        return nn.Dropout(0.5, deterministic=not train)(x * scale)


class Seen(jf.likelihoods.Likelihood):
    """Reports the whole mask as a figure of the batch."""

    def log_likelihood(self, outputs, targets):
        return outputs.sum(-1)

    def metrics(self, outputs, targets):
        bits = (outputs[0] != 0).reshape(4, 16)
        return {f"part{i}": (b * 2.0 ** jnp.arange(16)).sum() for i, b in enumerate(bits)}


def mask_of(info):
    return np.asarray([info[f"part{i}"] for i in range(4)])


@pytest.fixture(scope="module")
def masked():
    return jf.Model.from_linen(Mask(), prior=PRIOR, likelihood=Seen())


@pytest.mark.parametrize("name", [name for name in METHODS if name != "mc_drop_path"])
def test_masks_differ_from_step_to_step(masked, name):
    method = METHODS[name](masked)
    state = method.init({"scale": jnp.ones((1, 64))}, KEY)
    batch = jnp.ones((2, 64)), jnp.zeros(2)
    update = jax.jit(method.update)
    first, second = (mask_of(update(state, batch, key)[1]) for key in jax.random.split(KEY))
    assert (first != second).all()
    if name == "ensemble":
        assert (first[:, 0] != first[:, 1]).all()  # nor do its members share them


def test_alive_paths_differ_from_step_to_step(starts):
    model = jf.fractal_model(FRACTAL, prior=PRIOR, likelihood=LIKELIHOOD)
    method = METHODS["mc_drop_path"](model)
    state, update = method.init(starts[jf.FractalModel], KEY), jax.jit(method.update)
    losses = [float(update(state, (X, Y), key)[1]["loss"]) for key in jax.random.split(KEY, 12)]
    assert len(set(losses)) == 3  # one input of the join, the other, or both


def test_masks_differ_between_the_draws_of_a_step(masked):
    """The mean figure of S equal masks would be one mask's figure, a whole number."""
    q = jf.mean_field({"scale": jnp.ones((1, 64))}, scale=1e-3)
    batch = jnp.ones((1, 64)), jnp.zeros(1)
    one = jf.elbo(masked, q, batch, KEY).metrics
    many = jf.elbo(masked, q, batch, KEY, num_samples=64).metrics
    assert (mask_of(one) == mask_of(one).round()).all()
    # Of independent fair coins the mean is half of all bits, within five standard errors.
    assert (abs(mask_of(many) - (2**16 - 1) / 2) < 5 * 2**16 / np.sqrt(12 * 64)).all()
