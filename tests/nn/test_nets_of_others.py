"""Nets that somebody else wrote: what they need and do not say is said in a sentence."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jfractal as jf
from tests.inference.methods import LIKELIHOOD, PRIOR

KEY = jax.random.key(0)
X = np.asarray(jax.random.normal(KEY, (6, 4)))
Y = jnp.arange(6) % 3


class Normed(nn.Module):
    """A net whose batch statistics are always updated."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.BatchNorm(use_running_average=False)(x))


class Dropping(nn.Module):
    """A net that always drops."""

    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.5, deterministic=False)(nn.Dense(3)(x))


@pytest.mark.parametrize(("net", "what"), [(Normed(), "batch statistics"), (Dropping(), "random")])
def test_nets_that_train_without_a_training_pass(net, what):
    model = jf.Model(net.apply, prior=PRIOR, likelihood=LIKELIHOOD)
    variables = net.init({"params": KEY, "dropout": KEY}, X)
    method = jf.maximum_a_posteriori(model, optax.sgd(0.1))
    with pytest.raises(jf.InputError, match=rf"`model`.*{what}.*jf\.Model\.from_linen\(net"):
        jf.fit(method, variables, (X, Y), KEY, num_steps=1)


class Cell(nn.Module):
    """A step of `nn.scan`."""

    @nn.compact
    def __call__(self, x, _):
        return nn.relu(jf.BayesDense(4, estimator="local_reparam")(x)), None


class Scanned(nn.Module):
    """Layers in series, by `nn.scan`: each with weights of its own, or all with the same."""

    is_tied: bool = False

    @nn.compact
    def __call__(self, x):
        own = {"params": not self.is_tied, "posterior": not self.is_tied}
        axes = (
            {"variable_broadcast": "params"} if self.is_tied else {"variable_axes": {"params": 0}}
        )
        x, _ = nn.scan(Cell, **axes, split_rngs=own, length=3)()(x, None)
        return nn.Dense(3)(x)


def test_local_reparam_in_a_scan_is_that_of_layers_in_series():
    net = Scanned()
    variables = net.init(KEY, X)
    draws = jax.vmap(lambda key: net.apply(variables, X, rngs={"posterior": key}))(
        jax.random.split(KEY, 4)
    )
    assert len(np.unique(draws[:, 0, 0])) == 4
    model = jf.Model(net.apply, prior=PRIOR, likelihood=LIKELIHOOD)
    fit = jf.fit(
        jf.variational(model, optax.sgd(0.1)), variables["params"], (X, Y), KEY, num_steps=2
    )
    assert np.isfinite(fit.history["loss"]).all()


def test_local_reparam_of_weights_that_steps_of_a_scan_share_is_refused():
    net = Scanned(is_tied=True)
    variables = net.init(KEY, X)
    with pytest.raises(jf.InputError, match="is used more than once in a pass: 'local_reparam'"):
        net.apply(variables, X, rngs={"posterior": KEY})


def test_a_batch_norm_is_not_folded_into_gaussian_weights():
    net = jf.FractalNet(3, columns=2, widths=(2,), conv=jf.BayesConv)
    variables = net.init(KEY, jnp.ones((2, 4, 4, 1)))
    with pytest.raises(
        jf.InputError, match=r"`variables` must hold arrays where a batch norm is f"
    ):
        jf.extract(net, variables, column=1)
    drawn = {**variables, "params": jf.mean(variables["params"])}
    assert jf.extract(net, drawn, column=1)[1].keys() == {"params"}


def test_gaussian_weights_without_a_batch_norm_are_extracted_as_they_are():
    net = jf.FractalNet(3, columns=2, widths=(2,), conv=jf.BayesConv, norm="none")
    _, small = jf.extract(net, net.init(KEY, jnp.ones((2, 4, 4, 1))), column=1)
    leaves = jax.tree.leaves(small, is_leaf=lambda x: isinstance(x, jf.Gaussian))
    assert any(isinstance(leaf, jf.Gaussian) for leaf in leaves)


class Inner(nn.Module):
    """A Linen module, with batch statistics or without."""

    has_norm: bool

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(3)(nn.BatchNorm(not train)(x) if self.has_norm else x)


@pytest.mark.parametrize("has_norm", [False, True])
def test_a_linen_module_within_nnx(has_norm):
    module = nnx.bridge.ToNNX(Inner(has_norm), rngs=nnx.Rngs(0)).lazy_init(X)
    of = {"prior": PRIOR, "likelihood": LIKELIHOOD, "training": "train"}
    model, variables = jf.Model.from_nnx(module, **of)
    run = lambda: model.training_pass(variables, (X, Y), KEY).log_likelihood
    if has_norm:
        with pytest.raises(jf.InputError, match=r"updates batch stat.*jf\.Model\.from_linen\(net"):
            run()
    else:
        assert np.isfinite(run()).all()


def test_an_odd_batch_cannot_be_halved():
    net = jf.BayesDense(3, estimator="antithetic")
    model = jf.Model(net.apply, prior=PRIOR, likelihood=LIKELIHOOD)
    method = jf.variational(model, optax.sgd(0.1))
    with pytest.raises(jf.InputError, match=r"even number of examples.*'antithetic', got 3"):
        jf.fit(method, net.init(KEY, X)["params"], (X, Y), KEY, num_steps=1, batch_size=3)
