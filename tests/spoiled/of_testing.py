"""Spoiled calls of `jfractal.testing`."""

from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from jfractal import testing
from tests.spoiled.calls import Call

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
X = RNG.normal(size=(8, 2)).astype(np.float32)
Y = RNG.normal(size=(8, 1)).astype(np.float32)
COVARIANCE = np.array([[1.0, 0.3], [0.3, 0.5]])
MOMENTS = testing.Moments(np.zeros(2), COVARIANCE)
DRAWS = RNG.multivariate_normal(np.zeros(2), COVARIANCE, (4, 500))
SHIFTED = "negative, zero, doubled, booleans, huge, half precision"
PROBLEM = testing.GaussianTarget(MOMENTS)


def fit(model, start, data, key):
    """The exact posterior of `PROBLEM`."""
    scale = jnp.linalg.cholesky(jnp.asarray(COVARIANCE, jnp.float32))
    w = jax.random.normal(key, (2000, 2)) @ scale.T
    params = {"hidden": {"kernel": w[..., :1, None]}, "output": {"bias": w[..., 1:]}}
    return jf.Samples(params)


def conjugate(model, start, data, key):
    """The exact posterior of a linear regression."""
    exact = testing.ConjugateRegression(*map(np.asarray, data)).exact
    w = exact.mean + RNG.normal(size=(200, 3)) @ np.linalg.cholesky(exact.covariance).T
    w = jnp.asarray(w, jnp.float32)
    return jf.Samples({"bias": w[:, :1], "kernel": w[:, 1:, None]})


def calls() -> Iterator[Call]:
    yield Call(
        testing.Moments,
        {"mean": np.zeros(2), "covariance": COVARIANCE},
        {"mean": f"{SHIFTED}", "covariance": "zero, doubled, booleans, huge, half precision"},
    )
    yield Call(testing.GaussianTarget, {"exact": MOMENTS})
    yield Call(testing.GaussianTarget.random, {"key": KEY, "dimension": 3, "condition": 5.0})
    yield Call(
        testing.ConjugateRegression,
        {"x": X, "y": Y, "prior_scale": 1.0, "noise_scale": 0.5},
        {"x": f"{SHIFTED}, a column less", "y": SHIFTED},
    )
    yield Call(testing.ConjugateRegression.random, {"key": KEY, "num_data": 5, "num_features": 2})
    simulator = testing.ConjugateRegression(X, Y).simulator
    yield Call(
        testing.Simulator.gaussian,
        {"net": nn.Dense(1), "x": X, "prior_scale": 1.0, "noise_scale": 0.5},
        {"x": f"{SHIFTED}, a row less, a column less, an axis more, flat, a number"},
    )
    weights = {"kernel": jnp.ones((2, 1)), "bias": jnp.zeros(1)}
    kept = ", ".join(f"entry {word}" for word in SHIFTED.split(", ")[:3]) + ", entry huge"
    kept += ", entry half precision, entry NaN, entry all NaN, entry inf, entry -inf"
    yield Call(
        testing.invariants,
        {"params": weights, "model": simulator.model, "data": (X, Y)},
        {"params": kept, "data": ", ".join(f"part {word}" for word in SHIFTED.split(", "))},
        known_as={"params": "variables|x", "data": "batch|targets|outputs|x"},
        may_be_nan=True,
    )
    ranks = {"f": RNG.integers(0, 10, 40), "g": RNG.integers(0, 10, 40)}
    yield Call(
        testing.Calibration,
        {"ranks": ranks, "num_draws": 9},
        {"ranks": "entry a list"},
    )
    posterior = jf.MeanField(jf.mean_field({"w": jnp.ones(3)}))
    yield Call(testing.draws_of, {"posterior": posterior, "key": KEY, "num_draws": 16})
    expected = {"draws": DRAWS, "expected": MOMENTS, "slack": 0.01}
    kept = "half precision, a row less"
    slack = "zero, huge, two of them"
    yield Call(
        testing.assert_mean,
        expected,
        {"draws": f"{SHIFTED}, {kept}", "slack": slack},
    )
    yield Call(
        testing.assert_covariance, expected, {"draws": f"{SHIFTED}, {kept}", "slack": "zero, huge"}
    )
    problem = {"fit": fit, "problem": PROBLEM, "key": KEY, "slack": 0.1}
    yield Call(testing.assert_exact, problem, {"slack": "zero, huge"})
    yield Call(testing.assert_mean_field, problem | {"slack": 0.9}, {"slack": "zero, huge"})
    few = {"fit": conjugate, "simulator": simulator, "key": KEY, "num_simulations": 20}
    yield Call(
        testing.simulate_ranks,
        few | {"num_draws": 5, "quantities": lambda params, *_: {"w": params["bias"][0]}},
    )
    yield Call(testing.assert_calibrated, few | {"level": 1e-12})
