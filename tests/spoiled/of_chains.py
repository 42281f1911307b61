"""Spoiled calls of Markov chains over all data, and of what they return."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from tests.spoiled.calls import Call
from tests.spoiled.problem import BATCH, KEY, MODEL, NET, PARAMS, X, Y

PLAN = {
    "starts": jax.tree.map(lambda w: jnp.stack([w, -w]), PARAMS),
    "where": lambda path, leaf: True,
    "num_chains": 2,
    "num_warmup": 2,
    "num_draws": 4,
    "thinning": 1,
    "inverse_mass": jax.tree.map(jnp.ones_like, PARAMS),
    "temperature": 0.5,
    "batch_size": 8,
    "precision": "float32",
    "progress": False,
}
DATA = {"model": MODEL, "data": BATCH, "key": KEY}
KEPT = {
    "starts": "entry negative, entry zero, entry doubled, entry half precision",
    "inverse_mass": "entry doubled, entry huge, entry half precision",
    "num_warmup": "",
    "temperature": "huge",
    "batch_size": "huge",
}


def calls() -> Iterator[Call]:
    """What runs chains takes long: of all samplers the same arguments, but once a run."""
    for sampler, own, kept in (
        (jf.nuts, {"target_accept": 0.8, "max_tree_depth": 2}, {}),
        (jf.hmc, {"target_accept": 0.8, "trajectory_length": 0.1, "adapt_mass": True}, {}),
        (jf.mclmc, {"energy_variance": 5e-4, "adapt_mass": True}, {}),
        (jf.adjusted_mclmc, {"target_accept": 0.8, "adapt_mass": True}, {}),
    ):
        bound = partial(sampler, **DATA, **PLAN)
        yield Call(bound, own, kept, name=sampler.__name__)
    # What starts is to the net its `params`, and to the mass matrix the weights.
    named = {"starts": "params|inverse_mass"}
    yield Call(jf.nuts, DATA | PLAN | {"max_tree_depth": 1}, KEPT, known_as=named)
    yield Call(
        lambda data: jf.nuts(
            data=(data, Y), **{k: v for k, v in (DATA | PLAN).items() if k != "data"}
        ),
        {"data": X},
        {"data": SHIFTED},
        name="nuts of inputs",
    )
    directory = Path(mkdtemp()) / "chains"
    yield Call(
        partial(jf.nuts, **DATA, **PLAN),
        {"directory": directory, "devices": jax.devices()[:1]},
        {"directory": "a string"},
        name="nuts(directory, devices)",
    )
    chains = _chains()
    yield Call(chains.sample, {"key": KEY})
    yield Call(jf.Chains.joined, {"parts": [chains, chains]}, {"parts": "a part less"})
    yield Call(chains.member, {"u": 0.5}, {"u": "zero"})
    yield Call(
        chains.outputs,
        {"apply": NET.apply, "x": X},
        {"x": f"{SHIFTED}, {EXTREME}, an axis more, a row less"},
        may_be_nan=True,
    )
    yield Call(
        chains.diagnose,
        {"outputs": np.asarray(chains.outputs(NET.apply, X)), "weights": True, "max_rhat": 1.01},
        {"outputs": f"{SHIFTED}, {EXTREME}, a column less", "max_rhat": "huge"},
        may_be_nan=True,
    )


EXTREME = "NaN, all NaN, inf, -inf"
SHIFTED = "negative, zero, doubled, booleans, huge, half precision"


def _chains() -> jf.Chains:
    rng = np.random.default_rng(0)
    draws = jax.tree.map(
        lambda w: jnp.asarray(rng.normal(size=(2, 8, *w.shape)), jnp.float32), PARAMS
    )
    names = ("log_joint", "num_gradients", "divergences", "energy", "accept_prob")
    statistics = {name: rng.uniform(size=(2, 8)) for name in names}
    return jf.Chains({"params": draws}, statistics, np.ones(2))
