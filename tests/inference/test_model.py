"""Models of Linen modules: both passes, and what is said where one cannot run."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

import jfractal as jf
from tests.inference.methods import LIKELIHOOD, METHODS, PRIOR

KEY = jax.random.key(0)
X, Y = jax.random.normal(KEY, (6, 4)), jnp.arange(6) % 3
BATCH = X, Y


def linen(net, **options):
    return jf.Model.from_linen(net, prior=PRIOR, likelihood=LIKELIHOOD, **options)


def plain(net):
    return jf.Model(net.apply, prior=PRIOR, likelihood=LIKELIHOOD)


def test_log_joint_is_the_sum_of_its_parts():
    net = nn.Dense(3)
    params = net.init(KEY, X)["params"]
    log_prob = jax.nn.log_softmax(net.apply({"params": params}, X))[jnp.arange(6), Y]
    expected = log_prob.sum() + PRIOR.tree_log_prob(params)
    np.testing.assert_allclose(plain(net).log_joint(params, BATCH), expected, rtol=1e-5)


def test_a_repr_names_the_net_and_not_its_fields():
    net = nn.Sequential([nn.Dense(3)])
    options = {"prior": jf.priors.Gaussian(2.0), "likelihood": jf.likelihoods.Categorical()}
    for model in (jf.Model(net.apply, **options), jf.Model.from_linen(net, **options)):
        assert repr(model).startswith("Model(Sequential, prior=Gaussian(scale=2.0")
        assert repr(jf.maximum_a_posteriori(model, optax.sgd(0.1))) == f"Method('MAP', {model!r})"


def test_a_distribution_of_numpyro_becomes_a_prior():
    model = jf.Model(nn.Dense(3).apply, prior=dist.Normal(0.0, 1.0), likelihood=LIKELIHOOD)
    params = nn.Dense(3).init(KEY, X)["params"]
    expected = PRIOR.tree_log_prob(params)
    np.testing.assert_allclose(model.prior.tree_log_prob(params), expected, rtol=1e-5)


# The keyword of training


def net_with(signature):
    """A net whose outputs are 1 in training and 0 in evaluation, and how it is told."""
    space = {"nn": nn, "jnp": jnp}
    exec(
        "class Net(nn.Module):\n"
        "    @nn.compact\n"
        f"    def __call__(self, x, {signature[0]}):\n"
        "        scale = self.param('scale', nn.initializers.ones, (1, 1))\n"
        f"        return scale * float({signature[1]})\n",
        space,
    )
    return space["Net"]()


@pytest.mark.parametrize(
    ("signature", "training"),
    [
        (("train", "train"), None),
        (("train=False", "train"), None),
        (("*, train", "train"), None),
        (("training", "training"), None),
        (("is_training", "is_training"), None),
        (("deterministic", "not deterministic"), None),
        (("use_running_average", "not use_running_average"), None),
        (("train, deterministic", "train and not deterministic"), None),
        (("learning", "learning"), "learning"),
        (("**told", "told['learning']"), "learning"),
    ],
)
def test_the_keyword_of_training_is_found(signature, training):
    model = linen(net_with(signature), training=training)
    variables = {"params": {"scale": jnp.ones((1, 1))}}
    assert float(model.apply(variables, X)[0, 0]) == 0.0
    assert float(model.train(variables, X, KEY)[0][0, 0]) == 1.0


class Everything(nn.Module):
    """Two collections beside the weights, two streams of random numbers, a required keyword."""

    @nn.compact
    def __call__(self, x, train):
        calls = self.variable("counter", "calls", lambda: jnp.zeros(()))
        if train and not self.is_initializing():
            calls.value += 1
            x = x + jax.random.normal(self.make_rng("noise"), x.shape)
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(x))
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(x))


def test_several_collections_and_streams():
    net = Everything()
    model = linen(net, rngs=("dropout", "noise"))
    variables = net.init(KEY, X, train=False)
    runs = [model.training_pass(variables, BATCH, key) for key in jax.random.split(KEY)]
    for run in runs:
        assert float(run.variables["counter"]["calls"]) == 1.0
        before = variables["batch_stats"]["BatchNorm_0"]["mean"]
        assert (run.variables["batch_stats"]["BatchNorm_0"]["mean"] != before).all()
    assert (runs[0].log_likelihood != runs[1].log_likelihood).any()
    again = model.training_pass(variables, BATCH, jax.random.split(KEY)[0])
    np.testing.assert_array_equal(again.log_likelihood, runs[0].log_likelihood)
    np.testing.assert_array_equal(model.apply(variables, X), net.apply(variables, X, train=False))


# What is said where a pass cannot run


class Bare(nn.Module):
    layers: Sequence[nn.Module]

    @nn.compact
    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return nn.Dense(3)(x)


class Masked(nn.Module):
    """A mean over the tokens that are there, and two heads."""

    @nn.compact
    def __call__(self, x):
        h = nn.Embed(5, 4)(x["tokens"])
        there = x["mask"][..., None].astype(h.dtype)
        h = (h * there).sum(1) / there.sum(1)
        return {"class": nn.Dense(3)(h), "value": nn.Dense(1)(h)}


TREES = (
    {
        "tokens": jnp.arange(18).reshape(6, 3) % 5,
        "mask": jnp.ones((6, 3), bool).at[0, 1:].set(False),
    },
    {"class": Y, "value": X[:, :1]},
)
NORM = Bare([nn.BatchNorm(use_running_average=False)])
DROP = Bare([nn.Dropout(0.5, deterministic=False)])
VARIABLES = {
    "norm": NORM.init(KEY, X),
    "all": Everything().init(KEY, X, train=False),
    "drop": DROP.init({"params": KEY, "dropout": KEY}, X),
    "dense": nn.Dense(3).init(KEY, X),
    "masked": Masked().init(KEY, TREES[0]),
}


def told_of_training(variables, x):
    return nn.Dense(3).apply(variables, x, train=True)


CONV = {"params": {"kernel": jnp.ones((3, 3, 1, 3)), "bias": jnp.ones(3)}}
ALL = linen(Everything(), rngs=("dropout", "noise"))
DOES_NOT_RUN = "does not run through the net with these `params`"
REFUSED = {
    "statistics": (
        *(ALL, {"params": VARIABLES["all"]["params"]}, X),
        r"`params` lacks .*: if these are batch statistics, give all of `net.init\(key, x\)`",
    ),
    "stream": (
        *(linen(Everything()), VARIABLES["all"], X),
        r"`model` needs a random stream .* whose `rngs` names the streams .*noise",
    ),
    "norm": (
        *(plain(NORM), VARIABLES["norm"], X),
        r"`model` updates batch statistics .*from_linen",
    ),
    "dropout": (
        *(plain(DROP), VARIABLES["drop"], X),
        r"`model` needs a random stream that this pass does not have.*from_linen",
    ),
    "required": (
        *(plain(Everything()), VARIABLES["all"], X),
        r"other arguments .*from_linen.*missing 1 required",
    ),
    "unexpected": (
        *(jf.Model(told_of_training, prior=PRIOR, likelihood=LIKELIHOOD), VARIABLES["dense"], X),
        r"other arguments .*unexpected keyword argument 'train'",
    ),
    "features": (
        *(plain(nn.Dense(3)), VARIABLES["dense"], X[:, :2]),
        rf"`x` of shape \(6, 2\) {DOES_NOT_RUN}: .*kernel",
    ),
    "rank": (
        *(plain(nn.Conv(3, (3, 3))), CONV, jnp.ones((6, 2))),
        rf"`x` of shape \(6, 2\) {DOES_NOT_RUN}",
    ),
    "tree": (
        *(plain(Masked()), VARIABLES["masked"], {"tokens": jnp.ones((6, 3), int)}),
        rf"`x` of shape {{'tokens': \(6, 3\)}} {DOES_NOT_RUN}: KeyError: 'mask'",
    ),
}


@pytest.mark.parametrize(("model", "variables", "x", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_net_refuses_is_said_in_a_sentence(model, variables, x, message):
    method = jf.maximum_a_posteriori(model, optax.sgd(0.1))
    state = method.init(variables, KEY)
    for run in (method.update, jax.jit(method.update)):
        with pytest.raises(jf.InputError, match=message):
            run(state, (x, Y), KEY)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linen(nn.Dense(3).apply), "`net` must be a Flax Linen module, got a method"),
        (lambda: linen(nn.Dense(3), training="train"), "`training` must be a keyword of Dense"),
        (
            lambda: linen(nn.Dense(3), rngs="dropout"),
            "`rngs` must be a list of strings",
        ),
        (
            lambda: jf.Model(nn.Dense(3), prior=PRIOR, likelihood=LIKELIHOOD),
            r"`apply` must be a function .*net\.apply",
        ),
        (lambda: jf.Model(None, prior=PRIOR, likelihood=LIKELIHOOD), "`apply` must be a function"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(jf.InputError, match=message):
        make()


# Trees as inputs and as targets


class Both(jf.likelihoods.Likelihood):
    """A class and a number."""

    def log_likelihood(self, outputs, targets):
        of_class = jf.likelihoods.Categorical().log_likelihood(outputs["class"], targets["class"])
        value = jf.likelihoods.Gaussian(1.0).log_likelihood(outputs["value"], targets["value"])
        return of_class + value


@pytest.fixture(scope="module")
def tree_model():
    return jf.Model(Masked().apply, prior=PRIOR, likelihood=Both())


@pytest.mark.parametrize("name", ["maximum_a_posteriori", "ivon", "mc_dropout", "swag", "ensemble"])
def test_inputs_and_targets_may_be_trees(tree_model, name):
    """As many parts as there are: the loss falls, and is what the parts say."""
    method = METHODS[name](tree_model)
    state = method.init(lambda key: Masked().init(key, TREES[0])["params"], KEY)
    update, losses = jax.jit(method.update), []
    for key in jax.random.split(KEY, 3):
        state, info = update(state, TREES, key)
        losses.append(info["loss"])
    assert np.isfinite(losses).all()
    posterior = method.posterior(state)
    samples = jf.sample_outputs(tree_model.apply, posterior, TREES[0], KEY, num_samples=3)
    assert jax.tree.map(jnp.shape, samples) == {"class": (3, 6, 3), "value": (3, 6, 1)}
    draw = posterior.sample(KEY)
    outputs = Masked().apply(draw, TREES[0])
    np.testing.assert_allclose(
        tree_model.log_likelihood(draw, TREES),
        Both().log_likelihood(outputs, TREES[1]),
        rtol=1e-6,
    )


def test_trees_of_unequal_length_are_refused(tree_model):
    method = jf.maximum_a_posteriori(tree_model, optax.sgd(0.1))
    state = method.init(Masked().init(KEY, TREES[0]), KEY)
    wrong = {**TREES[0], "mask": TREES[0]["mask"][:4]}
    with pytest.raises(jf.InputError, match="the same number of examples"):
        method.update(state, (wrong, TREES[1]), KEY)
