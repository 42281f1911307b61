"""What is wrong with the data is said before a compiled program hides it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

import jfractal as jf

X = jax.random.normal(jax.random.key(0), (12, 3))
NET = nn.Dense(2)
DESCENT = {"optimizer": optax.sgd(0.1), "num_steps": 2, "batch_size": 4}
CHAIN = {"learning_rate": 0.1, "num_warmup": 1, "num_samples": 2}


def init(key):
    return NET.init(key, X)["params"]


METHODS = {
    "maximum_a_posteriori": lambda p, key: jf.maximum_a_posteriori(p, init, key, **DESCENT),
    "variational": lambda p, key: jf.variational(
        p, lambda key: jf.mean_field(init(key), estimator="local_reparam"), key, **DESCENT
    ),
    "ivon": lambda p, key: jf.ivon(p, init, key, learning_rate=0.1, num_steps=2),
    "mc_dropout": lambda p, key: jf.mc_dropout(p, init, key, rate=0.1, **DESCENT),
    "swag": lambda p, key: jf.swag(
        p, init, key, learning_rate=0.1, num_samples=2, rank=2, **DESCENT
    ),
    "laplace": lambda p, key: jf.laplace(p, init, key, **DESCENT),
    "diagonal_laplace": lambda p, key: jf.diagonal_laplace(p, init, key, **DESCENT),
    "sgld": lambda p, key: jf.sgld(p, init, key, **CHAIN),
    "sghmc": lambda p, key: jf.sghmc(p, init, key, **CHAIN),
    "nuts": lambda p, key: jf.nuts(p, init, key, num_warmup=1, num_samples=4),
}


class Mean(jf.likelihoods.Categorical):
    def log_likelihood(self, outputs, targets):
        return super().log_likelihood(outputs, targets).mean()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("labels", "likelihood", "message"),
    [
        (jnp.arange(12), jf.likelihoods.Categorical(), r"labels must be in \[0, 2\).* 0 to 11"),
        (jnp.arange(12) % 2, Mean(), "one number per example, not their mean or sum"),
    ],
)
def test_every_method_refuses(name, labels, likelihood, message):
    log_joint = jf.LogJoint(NET.apply, (X, labels), jf.priors.Gaussian(1.0), likelihood)
    with pytest.raises(jf.InputError, match=message):
        METHODS[name](log_joint, jax.random.key(1))


def test_good_data_pass_under_any_transformation():
    log_joint = jf.LogJoint(
        NET.apply, (X, jnp.arange(12) % 2), jf.priors.Gaussian(1.0), jf.likelihoods.Categorical()
    )
    params = init(jax.random.key(0))
    assert log_joint.check(params) is None
    jax.jit(lambda w: (log_joint.check(w), w)[1])(params)
