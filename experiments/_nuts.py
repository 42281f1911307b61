"""The reference of the experiments that have one: the No-U-Turn sampler, and its say on itself."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np

import jfractal as jf
from experiments._problems import Problem
from experiments.report import Picture, Section, Table
from experiments.rows import slug
from experiments.run import Run
from jfractal import metrics, viz
from jfractal.inference.mcmc.chains import MIN_EBFMI, MIN_ESS_PER_CHAIN
from jfractal.metrics.bootstrap import Estimate
from jfractal.typing import KeyArray

__all__ = [
    "ChainsConfig",
    "convergence_section",
    "diagnosed",
    "diagnostics_table",
    "intervals",
    "predicted",
    "reasons",
    "sample",
    "with_intervals",
]

WORDS = {
    "rhat": "R-hat",
    "ess": "ESS",
    "ebfmi": "E-BFMI",
    "accept": "acceptance",
    "prob": "probability",
    "num": "number of",
}
"""What stands in a report for the parts of a diagnostic's name."""


@dataclass(frozen=True)
class ChainsConfig:
    """The No-U-Turn sampler."""

    num_chains: int = 4
    """Chains, vectorised in one program."""
    num_warmup: int = 300
    """Steps of each chain to adapt."""
    num_draws: int = 600
    """Draws of each chain."""
    thinning: int = 1
    """Steps from one draw to the next."""
    target_accept: float = 0.8
    """Acceptance probability that the step size is adapted to."""
    max_tree_depth: int = 8
    """Bound on the depth of a trajectory: at most 2^depth gradients a step."""
    precision: jf.inference.Precision = "float32"
    """In which the chains move: float32 or float64."""
    max_rhat: float = 1.05
    """The largest R-hat, of thousands of predictions, with which chains are a reference."""
    weights: bool = False
    """Whether to report R-hat and effective sample sizes of single weights too."""


def sample(config: ChainsConfig, run: Run, name: str, problem: Problem, key: KeyArray) -> jf.Chains:
    """The reference; its draws are kept as they come, so that a killed run continues."""
    print(f"NUTS: {name}, {problem.num_params:,} weights", flush=True)
    return jf.nuts(
        problem.model,
        problem.data,
        key,
        starts=problem.start,
        num_chains=config.num_chains,
        num_warmup=config.num_warmup,
        num_draws=config.num_draws,
        thinning=config.thinning,
        target_accept=config.target_accept,
        max_tree_depth=config.max_tree_depth,
        precision=config.precision,
        directory=run.checkpoints / f"chains_{slug(name)}",
    )


def predicted(problem: Problem, outputs: np.ndarray) -> np.ndarray:
    """What is reported of each draw: probabilities of classes; in a regression, the mean."""
    return outputs[..., :1] if problem.noise else np.asarray(jax.nn.softmax(outputs))


def intervals(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    """Estimates as flat figures, each with the ends of its interval."""
    return {
        f"{of}{end}": float(value)
        for of, estimate in estimates.items()
        for end, value in (
            ("", estimate.value),
            ("_lower", estimate.lower),
            ("_upper", estimate.upper),
        )
    }


def with_intervals(row: Mapping[str, float], of: str, digits: int = 3) -> str:
    """A figure and its interval, for a table."""
    if of not in row:
        return "-"
    value = f"{row[of]:.{digits}f}"
    ends = (row.get(f"{of}_lower"), row.get(f"{of}_upper"))
    return value if None in ends else f"{value} ({ends[0]:.{digits}f}–{ends[1]:.{digits}f})"


def diagnosed(
    config: ChainsConfig, chains: jf.Chains, predictions: np.ndarray
) -> jf.inference.Diagnosis:
    """What the settings ask of chains."""
    return chains.diagnose(predictions, weights=config.weights, max_rhat=config.max_rhat)


def reasons(diagnosis: jf.inference.Diagnosis) -> str:
    """What speaks against chains, for result.json."""
    return "; ".join(diagnosis.reasons) or "none"


def diagnostics_table(diagnosis: jf.inference.Diagnosis) -> Table:
    """The figures that a diagnosis stands on, by the names that people know them by."""
    rows = [
        [" ".join(WORDS.get(word, word) for word in of.split("_")), round(value, 4)]
        for of, value in diagnosis.figures.items()
    ]
    return Table(["diagnostic", "value"], rows)


def convergence_section(
    config: ChainsConfig,
    name: str,
    chains: jf.Chains,
    predictions: np.ndarray,
    diagnosis: jf.inference.Diagnosis,
) -> Section:
    """May the reference be trusted?"""
    worst = predictions.reshape(*predictions.shape[:2], -1)
    worst = worst[..., int(np.argmax(metrics.rhat(worst)))]
    num_bins = min(20, max(2, predictions.shape[1] // 5))
    draws = {
        "log joint (nats)": np.asarray(chains.statistics["log_joint"]),
        "worst prediction": worst,
    }
    return Section(
        f"{name.capitalize()}: convergence of NUTS",
        f"Asked of a reference: R-hat of the log joint and of every prediction at "
        f"most {config.max_rhat}, bulk and tail effective sample sizes of at least "
        f"{MIN_ESS_PER_CHAIN} for each of {config.num_chains} chains, no divergence, E-BFMI at "
        f"least {MIN_EBFMI}. The worst prediction is the one of the largest R-hat.",
        diagnostics_table(diagnosis),
        [
            Picture(viz.traces(draws), "Draws, chain by chain."),
            Picture(
                viz.ranks(draws, num_bins=num_bins),
                "Ranks of each chain's draws among all: flat if the chains agree.",
            ),
        ],
    )
