"""Weights are floating-point arrays: anything else among them is refused, and its path is named."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from tests.inference.methods import LIKELIHOOD, METHODS, PRIOR

KEY = jax.random.key(0)
X = np.ones((4, 2), np.float32)
Y = np.arange(4) % 3
NET = nn.Dense(3)
MODEL = jf.Model(NET.apply, prior=PRIOR, likelihood=LIKELIHOOD)
PARAMS = NET.init(KEY, X)["params"]
FRACTAL = jf.fractal_model(
    jf.FractalNet(3, columns=2, widths=(2,)), prior=PRIOR, likelihood=LIKELIHOOD
)
OTHERS = {
    "an integer": jnp.ones(3, jnp.int32),
    "a truth value": jnp.ones(3, bool),
    "a key": jax.random.key(0),
    "no array": "spoiled",
}
FUNCTIONS = {
    "laplace": lambda params: jf.laplace(MODEL, params, (X, Y)),
    "dropout": jf.dropout,
    "mean_field": jf.mean_field,
    "sample": lambda params: jf.sample(params, KEY),
    "mean": jf.mean,
    "variance": jf.variance,
    "snr": jf.snr,
    "prune": lambda params: jf.prune(params, 0.5),
    "kl": lambda params: jf.kl(params, PRIOR),
    "linearize": lambda params: jf.linearize(NET.apply, params),
    "log_joint": lambda params: MODEL.log_joint(params, (X, Y)),
    "elbo": lambda params: jf.elbo(MODEL, params, (X, Y), KEY),
    "nuts": lambda params: jf.nuts(MODEL, (X, Y), KEY, starts=lambda key: params),
    "mclmc": lambda params: jf.mclmc(MODEL, (X, Y), KEY, starts=lambda key: params),
} | {
    name: lambda params, make=make: make(FRACTAL).init(params, KEY)
    for name, make in METHODS.items()
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("other", OTHERS)
def test_anything_but_floating_point_arrays_is_refused_by_path(name, other):
    params = {**PARAMS, "steps": {"count": OTHERS[other]}}
    with pytest.raises(jf.InputError, match=r"`params` must .*floating-point.* at 'steps/count'"):
        FUNCTIONS[name](params)


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_a_start_that_is_not_finite_is_refused(value):
    params = {**PARAMS, "bias": jnp.full(3, value)}
    with pytest.raises(jf.InputError, match="`params` must be finite"):
        jf.maximum_a_posteriori(MODEL, optax.sgd(0.1)).init(params, KEY)
    with pytest.raises(jf.InputError, match="`params` must be finite"):
        jf.laplace(MODEL, params, (X, Y))


def test_batch_statistics_are_no_weights():
    variables = {"params": PARAMS, "batch_stats": {"mean": jnp.ones(3)}}
    with pytest.raises(jf.InputError, match=r"batch statistics at 'batch_stats': give `variables"):
        jf.mean_field(variables)


def test_statistics_and_counts_beside_the_weights_stay_as_they_are():
    variables = {"params": PARAMS, "batch_stats": {"count": jnp.ones((), jnp.int32)}}
    state = jf.variational(MODEL, optax.sgd(0.1)).init(variables, KEY)
    assert state.variables["batch_stats"]["count"].dtype == jnp.int32


@pytest.mark.parametrize("label", [-1, 3])
@pytest.mark.parametrize("kind", ["arrays", "a list of batches", "a function of the epoch"])
def test_labels_are_looked_at_before_training(label, kind):
    data = X, np.array([0, 1, 2, label])
    options = {"num_steps": 1} if kind == "arrays" else {"num_steps": 1, "num_data": 4}
    given = {
        "arrays": data,
        "a list of batches": [data],
        "a function of the epoch": lambda _: [data],
    }
    with pytest.raises(jf.InputError, match=r"`data`.*labels in \[0, 3\)"):
        jf.fit(jf.maximum_a_posteriori(MODEL, optax.sgd(0.1)), PARAMS, given[kind], KEY, **options)


@pytest.mark.parametrize("second", ["labels", "inputs"])
def test_every_batch_of_a_stream_is_looked_at(second):
    wrong = (X, np.array([0, 1, 2, -1])) if second == "labels" else (X * np.nan, Y)
    batches = [(X, Y), wrong]
    with pytest.raises(jf.InputError, match=r"`data`.*(labels in \[0, 3\)|finite numbers)"):
        jf.fit(
            jf.maximum_a_posteriori(MODEL, optax.sgd(0.1)),
            PARAMS,
            batches,
            KEY,
            num_epochs=1,
            num_data=8,
        )
