"""The No-U-Turn sampler as the reference of experiments, and its diagnostics."""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

import jfractal as jf
from experiments._methods import FitConfig
from experiments._problems import Problem
from experiments.ranges import Count, Interval, Level
from experiments.report import Picture, Section, Table
from experiments.rows import slug
from experiments.run import Run
from experiments.settings import Settings
from jfractal import metrics, viz
from jfractal.inference.mcmc.diagnosis import MIN_EBFMI, MIN_ESS_PER_CHAIN
from jfractal.progress import doing
from jfractal.typing import KeyArray

Chains = Annotated[int, Interval(2)]  # one is compared with the others
Draws = Annotated[int, Interval(4)]  # R-hat needs as many
TreeDepth = Annotated[int, Interval(1, 20, "[]")]
AboveOne = Annotated[float, Interval(1, ends="()")]

COMPARED = FitConfig(
    num_epochs=1000,
    batch_size=50,
    learning_rate=3e-3,
    scale=0.05,
    dropout_rate=0.1,
    num_members=10,
    num_samples=200,
)
"""The methods that are compared with it."""
PAPER_CHAINS = {"num_chains": 8, "num_warmup": 2000, "num_draws": 2000, "max_tree_depth": 10}
QUICK_CHAINS = {"num_chains": 2, "num_warmup": 10, "num_draws": 10, "max_tree_depth": 3}
QUICK = {
    "model": {"columns": 2, "width": 2},
    "fit": {"num_epochs": 2, "batch_size": 10, "num_samples": 4},
    "chains": QUICK_CHAINS,
}
WORDS = {
    "rhat": "R-hat",
    "ess": "ESS",
    "ebfmi": "E-BFMI",
    "accept": "acceptance",
    "prob": "probability",
    "num": "number of",
}
"""The words in a report for the parts of a diagnostic's name."""


@dataclass(frozen=True)
class ChainsConfig(Settings):
    """The No-U-Turn sampler."""

    num_chains: Chains = 4  # Chains, vectorised in one program.
    num_warmup: Count = 300  # Steps of each chain to adapt.
    num_draws: Draws = 600  # Draws of each chain.
    thinning: Count = 1  # Steps from one draw to the next.
    target_accept: Level = 0.8  # Acceptance probability that the step size is adapted to.
    # Bound on the depth of a trajectory: at most 2^depth gradients a step.
    max_tree_depth: TreeDepth = 8
    precision: jf.inference.Precision = "float32"  # In which the chains move.
    # The largest R-hat, of thousands of predictions, with which chains are a reference.
    max_rhat: AboveOne = 1.05
    weights: bool = False  # Whether to report R-hat and ESS of single weights too.


class Reference(NamedTuple):
    """Chains, and what they say of a problem's test inputs and of themselves."""

    chains: jf.Chains
    outputs: np.ndarray  # of the net, "chains draws batch outputs"
    predictions: np.ndarray  # of each draw: probabilities of classes; else the mean
    diagnosis: jf.inference.Diagnosis

    @property
    def figures(self) -> dict[str, Any]:
        """For result.json: are they a reference, what speaks against it, and the diagnostics."""
        reasons = "; ".join(self.diagnosis.reasons) or "none"
        named = {f"nuts_{of}": value for of, value in self.diagnosis.figures.items()}
        return {"converged": self.diagnosis.converged, "reasons": reasons, **named}


def sample(config: ChainsConfig, run: Run, name: str, problem: Problem, key: KeyArray) -> Reference:
    """The reference; its draws are kept as they come, so that a killed run continues."""
    with doing(f"NUTS of {name}"):
        return _sampled(config, run, name, problem, key)


def _sampled(
    config: ChainsConfig, run: Run, name: str, problem: Problem, key: KeyArray
) -> Reference:
    chains = jf.nuts(
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
    outputs = np.asarray(chains.outputs(problem.net.apply, problem.x_test))
    is_classifier = isinstance(problem.model.likelihood, jf.likelihoods.Categorical)
    predictions = np.asarray(jax.nn.softmax(outputs)) if is_classifier else outputs[..., :1]
    diagnosis = chains.diagnose(predictions, weights=config.weights, max_rhat=config.max_rhat)
    return Reference(chains, outputs, predictions, diagnosis)


def convergence_section(config: ChainsConfig, name: str, reference: Reference) -> Section:
    """May the reference be trusted?"""
    predictions = reference.predictions
    worst = predictions.reshape(*predictions.shape[:2], -1)
    worst = worst[..., int(np.argmax(metrics.rhat(worst)))]
    num_bins = min(20, max(2, predictions.shape[1] // 5))
    draws = {
        "log joint (nats)": np.asarray(reference.chains.statistics["log_joint"]),
        "worst prediction": worst,
    }
    figures = [
        [" ".join(WORDS.get(word, word) for word in of.split("_")), round(value, 4)]
        for of, value in reference.diagnosis.figures.items()
    ]
    ranks = "Ranks of each chain's draws among all: flat if the chains agree."
    return Section(
        f"{name.capitalize()}: convergence of NUTS",
        f"{reference.diagnosis}\n\nAsked of a reference: R-hat of the log joint and of every "
        f"prediction at most {config.max_rhat}, bulk and tail effective sample sizes of at least "
        f"{MIN_ESS_PER_CHAIN} for each of {config.num_chains} chains, no divergence, E-BFMI at "
        f"least {MIN_EBFMI}. The worst prediction is the one of the largest R-hat.",
        Table(["diagnostic", "value"], figures),
        [
            Picture(viz.traces(draws), "Draws, chain by chain."),
            Picture(viz.ranks(draws, num_bins=num_bins), ranks),
        ],
    )
