"""The reference of the experiments that have one: the No-U-Turn sampler, and its say on itself."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np

import jfractal as jf
from experiments._methods import slug
from experiments._problems import Problem
from experiments.report import Section, Table
from experiments.run import Run
from jfractal import metrics, viz
from jfractal.inference.chains import MIN_EBFMI, MIN_ESS_PER_CHAIN
from jfractal.metrics.bootstrap import Estimate
from jfractal.typing import KeyArray

__all__ = [
    "ChainsConfig",
    "convergence_section",
    "diagnosed",
    "diagnostics_table",
    "interval_cell",
    "intervals",
    "predicted",
    "reasons",
    "sample",
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
    num_samples: int = 600
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
        problem.log_joint,
        problem.init,
        key,
        num_chains=config.num_chains,
        num_warmup=config.num_warmup,
        num_samples=config.num_samples,
        thinning=config.thinning,
        target_accept=config.target_accept,
        max_tree_depth=config.max_tree_depth,
        precision=config.precision,
        directory=run.checkpoints / f"chains_{slug(name)}",
        progress_bar=True,
    )


def predicted(problem: Problem, outputs: np.ndarray) -> np.ndarray:
    """What is reported of each draw: probabilities of classes; in a regression, the mean."""
    return outputs[..., :1] if problem.noise else np.asarray(jax.nn.softmax(outputs))


def intervals(of: str, value: Estimate) -> dict[str, float]:
    """An estimate as flat figures."""
    return {
        of: float(value.value),
        f"{of}_lower": float(value.lower),
        f"{of}_upper": float(value.upper),
    }


def interval_cell(row: Mapping[str, float], of: str) -> str:
    """A figure and its interval."""
    return f"{row[of]:.3f} ({row[f'{of}_lower']:.3f}–{row[f'{of}_upper']:.3f})"


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
    run: Run,
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
            (run.figure(f"traces_{slug(name)}", viz.traces(draws)), "Draws, chain by chain."),
            (
                run.figure(f"ranks_{slug(name)}", viz.ranks(draws, num_bins=num_bins)),
                "Ranks of each chain's draws among all: flat if the chains agree.",
            ),
        ],
    )
