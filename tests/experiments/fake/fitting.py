"""Fit one of several ways.

What is killed and damaged in tests: small runs that write much.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jfractal as jf
from experiments.report import Outcome, Section
from experiments.rows import Rows
from experiments.run import Options, Run
from jfractal.identity import ByContent
from tests.training.problems import KEY, MAP, MODEL, NET, X, Y

VARIATIONAL = jf.variational(MODEL, optax.adam(1e-2))
CHAIN = jf.sghmc(MODEL, learning_rate=1e-3, num_draws=2, thinning=2)
PROBLEM = jf.testing.ConjugateRegression.random(jax.random.key(1))


@dataclass(frozen=True)
class Config(Options):
    """Settings of the fit."""

    kind: Literal["classification", "Bayesian", "ensemble", "SG-MCMC", "NUTS", "sweep"] = (
        "classification"
    )
    """What is fitted."""


PRESETS = {"laptop": Config(), "paper": Config(preset="paper"), "quick": Config(quick=True)}


def FINDING(rows: Rows) -> str:
    """What it all amounts to."""
    return f"the checksum is {rows.values('checksum')[0]}"


def start(key: Any) -> Any:
    """Weights to start from."""
    return NET.init(key, jnp.asarray(X[:1]))["params"]


def validated(posterior: jf.Posterior) -> dict[str, float]:
    """Takes its time, so that the run does."""
    time.sleep(0.03)
    return {"nll": float(jnp.square(posterior.mean()["Dense_0"]["kernel"]).sum())}


def fitted(method: jf.Method) -> Callable[[Run], Any]:
    """What a fit leaves: state and history."""

    def fit(run: Run) -> Any:
        made = run.fit(
            method,
            start,
            (X, Y),
            KEY,
            name="net",
            num_steps=60,
            batch_size=8,
            log_every=1,
            checkpoint_every=2,
            validation=validated,
            validate_every=3,
        )
        return made.state, dict(made.history)

    return fit


def chains(run: Run) -> Any:
    """What NUTS leaves: draws and their statistics."""
    made = jf.nuts(
        PROBLEM.model,
        PROBLEM.data,
        KEY,
        starts=PROBLEM.start,
        num_warmup=40,
        num_draws=600,
        directory=run.checkpoints / "chains",
        progress=False,
    )
    run.log({"draws": made.num_draws})
    return made.params, made.statistics


@partial(jax.jit, static_argnums=0)
def scanned(method: ByContent[jf.Method], key: Any) -> Any:
    """Weights of a fit without host."""
    made, _ = jf.training.scan(method.value, start, (X, Y), key, num_steps=9, batch_size=8)
    return made.mean()


def sweep(run: Run) -> Any:
    """What two methods leave with three seeds."""

    def weights(method: jf.Method, seed: int) -> dict[str, Any]:
        time.sleep(0.1)
        made = scanned(ByContent(method), jax.random.key(seed))
        return {"weights": made, "bias": made["Dense_0"]["bias"].sum()}

    parts = [(method, seed) for method in (MAP, VARIATIONAL) for seed in range(3)]
    return [
        run.once(lambda part=part: weights(*part), method=part[0].name, step=part[1])
        for part in parts
    ]


KINDS: dict[str, Callable[[Run], Any]] = {
    "classification": fitted(MAP),
    "Bayesian": fitted(VARIATIONAL),
    "ensemble": fitted(jf.ensemble(MAP, 2)),
    "SG-MCMC": fitted(CHAIN),
    "NUTS": chains,
    "sweep": sweep,
}


def run(config: Config, run: Run) -> Outcome:
    """The checksum of all that the fit leaves."""
    leaves = map(np.asarray, jax.tree.leaves(KINDS[config.kind](run)))
    checksum = hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest()
    rows = Rows()
    rows.add({"checksum": checksum})
    return Outcome("made", "made", rows, [Section("The fit")])
