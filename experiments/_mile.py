"""Chains from the members of an ensemble (MILE): their settings, their run, their cost."""

from dataclasses import dataclass

import jfractal as jf
from experiments._nuts import Draws
from experiments.ranges import Count, Positive
from experiments.rows import slug
from experiments.run import Run
from experiments.settings import Settings
from jfractal.inference.batch import Batch
from jfractal.typing import KeyArray

MILE = "MILE"


@dataclass(frozen=True)
class MileConfig(Settings):
    """Microcanonical Langevin chains, one from each member of an ensemble."""

    num_warmup: Count = 4000  # Steps of each chain to tune its step size, mass and length.
    num_draws: Draws = 100  # Draws of each chain.
    thinning: Count = 20  # Steps from one draw to the next.
    energy_variance: Positive = 0.1  # Of a step, in nats² per weight, that its size is tuned to.
    adapt_mass: bool = True  # Whether warm-up tunes a diagonal mass matrix.
    batch_size: Count = 512  # Rows that go through the nets at once; all count in every step.


def mile(
    config: MileConfig,
    run: Run,
    name: str,
    model: jf.Model,
    data: Batch,
    ensemble: jf.Ensemble,
    key: KeyArray,
) -> jf.Chains:
    """The chains; their draws are kept as they come, so that a killed run continues."""
    return jf.mclmc(
        model,
        data,
        key,
        starts=ensemble,
        num_chains=len(ensemble),
        num_warmup=config.num_warmup,
        num_draws=config.num_draws,
        thinning=config.thinning,
        energy_variance=config.energy_variance,
        adapt_mass=config.adapt_mass,
        batch_size=config.batch_size,
        directory=run.checkpoints / f"mile_{slug(name)}",
    )


def num_gradients(chains: jf.Chains) -> float:
    """Gradients over all data of all chains, those of their warm-up included."""
    return float(chains.statistics["num_gradients"].sum() + chains.warmup_gradients.sum())
