"""Spoiled calls of `jfractal.posterior` and of `jfractal.storage`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from jfractal import posterior, priors, storage
from tests.spoiled.calls import Call
from tests.spoiled.problem import BATCH, KEY, MODEL, NET, PARAMS, SHIFTED

PLACE = Path(mkdtemp())
Q = jf.mean_field(PARAMS)
KEPT = (
    ", ".join(
        f"entry {word}"
        for word in (
            "negative",
            "zero",
            "doubled",
            "huge",
            "half precision",
            "a row less",
            "a column less",
            "flat",
            "an axis more",
            "empty",
            "a scalar",
            "None",
            "NaN",
            "all NaN",
            "inf",
            "-inf",
        )
    )
    + ", in a list"
)


NONE = {"params": "entry None"}  # no leaf, for JAX


@dataclass(frozen=True)
class _Stored:
    """A class that a file may hold."""

    w: jax.Array


def everything(path: str, leaf: jax.Array) -> bool:
    return True


def calls() -> Iterator[Call]:
    yield from _trees()
    yield from _posteriors()
    yield Call(posterior.Routes.of, {"probs": (0.25, 0.75)})
    yield Call(posterior.Routes.uniform, {"num_routes": 2})
    routes = posterior.Routes.uniform(2)
    yield Call(routes.kl, {"prior": posterior.Routes.of((0.25, 0.75))})
    yield Call(
        posterior.linearize,
        {"apply": NET.apply, "params": PARAMS, "where": everything},
        {"params": KEPT},
    )
    path = PLACE / "tree.npz"
    yield Call(
        storage.save,
        {"path": path, "tree": {"w": PARAMS["kernel"]}},
        {"path": "a string", "tree": "*"},
    )
    storage.save(path, PARAMS)
    yield Call(storage.load, {"path": path}, {"path": "a string"})  # as `save` wrote it above
    yield Call(storage.read, {"path": path}, {"path": "a string"})
    yield Call(storage.read_about, {"path": path}, {"path": "a string"})
    words = "negative, zero, doubled, huge, half precision, booleans, NaN, all NaN, inf, -inf"
    words += ", a row less, a column less, an axis more, flat, a scalar, empty, a number, complex"
    yield Call(
        storage.write,
        {"path": path, "arrays": {"w": np.asarray(PARAMS["kernel"])}, "about": {"of": "a test"}},
        {
            "path": "a string",
            "arrays": ", ".join(["empty", *(f"entry {word}" for word in words.split(", "))]),
            "about": "empty, a mapping, names that are numbers, entry *",
        },
    )
    yield Call(storage.discard_parts, {"directory": PLACE}, {"directory": "a string"})
    yield Call(storage.storable, {"cls": _Stored})


def _trees() -> Iterator[Call]:
    yield Call(
        posterior.mean_field,
        {
            "params": PARAMS,
            "scale": 0.1,
            "where": everything,
            "estimator": "reparam",
            "parameterisation": "softplus",
        },
        {"params": KEPT},
        may_be_nan=True,
    )
    yield Call(posterior.sample, {"params": Q, "key": KEY, "where": lambda leaf: True}, NONE)
    for function in (posterior.mean, posterior.variance, posterior.snr, posterior.group_snr):
        no_leaf = "None, empty" if function is posterior.group_snr else ""  # nothing in doubt
        yield Call(function, {"params": Q}, {"params": f"entry None, {no_leaf}"})
        yield Call(
            function,
            {"params": PARAMS},
            {"params": f"{KEPT}, {no_leaf}"},
            f"{function.__name__} of arrays",
            may_be_nan=True,
        )
    yield Call(
        posterior.group_snr,
        {"params": Q, "where": everything},
        {"params": "entry None, None, empty"},
    )
    yield Call(posterior.unit_snr, {"params": Q, "axis": -1}, NONE | {"axis": "negative"})
    yield Call(
        posterior.prune,
        {"params": Q, "fraction": 0.5, "where": everything},
        NONE | {"fraction": "zero"},
    )
    prior = priors.Gaussian(1.0)
    yield Call(priors.kl, {"params": Q, "prior": prior, "key": KEY}, NONE)
    yield Call(priors.kl_by_leaf, {"params": Q, "prior": prior, "key": KEY}, NONE)
    leaf = Q["kernel"]
    yield Call(
        posterior.Gaussian,
        {
            "mean": PARAMS["kernel"],
            "rho": PARAMS["kernel"],
            "estimator": "reparam",
            "parameterisation": "softplus",
        },
        {"mean": "*", "rho": "*"},
        may_be_nan=True,
    )
    yield Call(leaf.sample, {"key": KEY})
    yield Call(
        leaf.at,
        {"noise": PARAMS["kernel"]},
        {"noise": f"{SHIFTED}, NaN, all NaN, inf, -inf"},
        may_be_nan=True,
    )
    yield Call(
        leaf.log_prob,
        {"w": PARAMS["kernel"]},
        {"w": f"{SHIFTED}, NaN, all NaN, inf, -inf"},
        may_be_nan=True,
    )


def _posteriors() -> Iterator[Call]:
    stacked = jax.tree.map(lambda w: jnp.stack([w, -w]), PARAMS)
    ensemble = posterior.Ensemble(posterior.Point({"params": stacked}))
    for q in (
        posterior.MeanField(Q),
        posterior.Samples(stacked),
        ensemble,
        posterior.Dropout(PARAMS, {"kernel": 0.2}),
        jf.laplace(MODEL, PARAMS, BATCH),
        jf.laplace(MODEL, PARAMS, BATCH, structure="kronecker"),
        jf.laplace(MODEL, PARAMS, BATCH).gaussian,
        jf.laplace(MODEL, PARAMS, BATCH, structure="kronecker").gaussian,
    ):
        name = type(q).__name__
        yield Call(q.sample, {"key": KEY}, name=f"{name}.sample")
        yield Call(q.predictive, {"apply": NET.apply}, name=f"{name}.predictive")
        if hasattr(q, "member"):
            yield Call(q.member, {"u": 0.5}, {"u": "zero"}, name=f"{name}.member")
    yield Call(q.save, {"path": PLACE / "q.npz"}, {"path": "a string"}, name="Posterior.save")
    yield Call(posterior.Point({"params": PARAMS}).sample, {"key": KEY}, {"key": "*"})
