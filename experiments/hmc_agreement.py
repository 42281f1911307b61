"""How far is every cheap posterior from the real one? Fractal nets and a perceptron against NUTS.

Izmailov et al. (ICML 2021) sampled the posterior of a residual net on 512 TPU cores. They measured
how often cheap posteriors predict the same class (agreement), and how far their probabilities are
from those of the samples (total variation). This experiment does the same for nets that are small
enough for two CPU cores, all without batch statistics, on a few hundred digits, and for a
regression on a UCI data set. NUTS runs vectorised chains, judged by R-hat and effective sample
sizes of predictions. The ceiling of every comparison is what one chain reaches against the others.
Results: docs/results.md. Laptop: 14 minutes on one core.

    make experiment NAME=hmc_agreement
    make experiment NAME=hmc_agreement ARGS="--problems regression --data.table energy"
"""

import time
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jfractal as jf
from experiments import report
from experiments._methods import METHODS, Fit, FitConfig, num_gradients, num_steps, recipes, without
from experiments._mile import MILE, MileConfig, mile
from experiments._mile import num_gradients as of_chains
from experiments._nuts import (
    COMPARED,
    PAPER_CHAINS,
    QUICK,
    QUICK_CHAINS,
    ChainsConfig,
    Reference,
    convergence_section,
    sample,
)
from experiments._problems import PROBLEMS, DataConfig, ModelConfig, Problem, problems
from experiments._routes import scores
from experiments.ranges import Choices, OneOf, Rate
from experiments.report import Outcome, Section, lowest
from experiments.report.words import listed
from experiments.rows import Rows, intervals, slug
from experiments.run import Options, Run
from experiments.settings import presets
from jfractal import metrics
from jfractal.metrics.bootstrap import Estimate
from jfractal.training import scan
from jfractal.typing import Array, KeyArray

DROP_PATH = "drop-path MC"
CONV, TABLE = "conv fractal", "regression"
DISTANCES = ("total_variation", "w2")
NUM_PREDICTIVE = 2000


@dataclass(frozen=True)
class Config(Options):
    """Settings of `hmc_agreement`."""

    problems: Choices[Annotated[str, OneOf(PROBLEMS)]] = PROBLEMS  # What to sample.
    # What to compare with NUTS.
    methods: Choices[Annotated[str, OneOf([*METHODS, DROP_PATH, MILE])]] = (
        *without("Laplace, full"),
        DROP_PATH,
        MILE,
    )
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    fit: FitConfig = COMPARED
    drop_path_rate: Rate = 0.15  # Share of join inputs that drop-path Monte Carlo drops.
    # Chains from the members of the ensemble.
    mile: MileConfig = MileConfig(num_warmup=1500, energy_variance=5e-4)
    chains: ChainsConfig = ChainsConfig()
    # NUTS of the conv fractal net, whose gradients are the dearest.
    chains_conv: ChainsConfig = ChainsConfig(num_draws=400)
    # NUTS of the net for regression, which has the most data.
    chains_table: ChainsConfig = ChainsConfig(num_draws=300, max_tree_depth=7)


PRESETS = presets(
    Config(),
    paper={
        "data": {"num_train": 1200, "num_train_conv": 1200},
        "model": {"width": 32, "conv_columns": 3, "conv_widths": (8, 16)},
        **dict.fromkeys(("chains", "chains_conv", "chains_table"), PAPER_CHAINS),
    },
    quick={
        "problems": ("dense fractal", TABLE),
        "methods": ("MAP", DROP_PATH, "mean field, local", "Laplace, last layer", MILE),
        "data": {"num_train": 20, "num_train_conv": 20, "num_test": 20, "table": "diabetes"},
        "mile": {"num_warmup": 10, "num_draws": 4, "thinning": 1},
        **QUICK,
        **dict.fromkeys(("chains_conv", "chains_table"), QUICK_CHAINS),
    },
)

FINDING = lowest(
    "total_variation",
    "method",
    of="total variation from NUTS",
    per="problem",
    without=("NUTS", "one chain"),
)


def run(config: Config, run: Run) -> Outcome:
    """Samples every problem, and compares every method with the draws."""
    available = problems(config.data, config.model)
    used = {name: available[name]() for name in config.problems}
    rows, sections = Rows(), []
    for number, (name, problem) in enumerate(used.items()):
        key = jax.random.fold_in(jax.random.key(config.seed), number)
        of_problem, parts = one_problem(config, run, name, problem, key)
        rows.extend(of_problem)
        sections += parts
    converged = all(row["value"] for row in rows.where(metric="converged"))
    rows.add({"converged": converged})
    names = lambda of: listed(sorted(getattr(problem, of) for problem in used.values()))
    return Outcome(names("dataset"), names("requested"), rows, sections)


def one_problem(
    config: Config, run: Run, name: str, problem: Problem, key: KeyArray
) -> tuple[Rows, list[Section]]:
    """Figures and report of one problem."""
    key_chains, key_fit, key_compare = jax.random.split(key, 3)
    chains = {CONV: config.chains_conv, TABLE: config.chains_table}.get(name, config.chains)
    reference = sample(chains, run, name, problem, key_chains)
    path = run.directory / "references" / f"{slug(name)}.npz"
    jf.reference.save(path, reference.chains, problem.model, problem.data, problem.x_test)
    outputs, methods = reference.outputs, fits(config, run, name, problem)
    judge = partial(judged, problem, outputs, key_compare)

    def fit_and_judge(method: str, **_: str) -> dict[str, float]:
        began = time.perf_counter()
        posterior = jax.block_until_ready(methods[method](problem.data, key_fit))
        seconds = time.perf_counter() - began
        number, size = config.fit.num_samples, len(problem.data[1])
        if isinstance(posterior, jf.Chains):
            number = posterior.num_chains * posterior.num_draws
            gradients = num_gradients(config.fit, "ensemble", size) + of_chains(posterior)
        else:
            gradients = num_gradients(config.fit, method, size)
        apply, x = problem.net.apply, problem.x_test
        draws = jf.sample_outputs(apply, posterior, x, key_fit, num_samples=number)
        return judge(draws) | {"gradients": gradients, "seconds": seconds}

    rows = Rows()
    cost = {"gradients": of_chains(reference.chains)}
    itself = judge(outputs.reshape(-1, *outputs.shape[2:]))
    rows.add(itself | cost, problem=name, method="NUTS")
    rows.extend(run.sweep(fit_and_judge, problem=[name], method=methods))
    rows.add(intervals(ceiling(problem, outputs, key_compare)), problem=name, method="one chain")
    sections = [
        comparison_section(name, problem, rows, reference),
        convergence_section(chains, name, reference),
    ]
    rows.add({**reference.figures, "num_params": problem.num_params}, problem=name)
    return rows, sections


def fits(config: Config, run: Run, name: str, problem: Problem) -> dict[str, Fit]:
    """The methods that the settings name, as far as the net has what they need."""

    def from_members(data: Any, key: KeyArray) -> jf.Chains:
        members: Any = every["ensemble"](data, key)
        return mile(config.mile, run, name, problem.model, data, members, key)

    options = {"last_layer": problem.last_layer, "fixed": problem.noise}
    size = len(problem.data[1])
    every = dict(recipes(config.fit, problem.model, problem.start, size, **options))
    every[MILE] = from_members
    if problem.block_net is not None:
        every[DROP_PATH] = drop_path(config, problem)
    return {name: every[name] for name in config.methods if name in every}


def drop_path(config: Config, problem: Problem) -> Fit:
    """Drop-path Monte Carlo, with the steps of all other methods."""
    size = len(problem.data[1])
    steps, batch_size = num_steps(config.fit, size), min(config.fit.batch_size, size)
    prior, likelihood = problem.model.prior, problem.model.likelihood
    model = jf.fractal_model(problem.net, prior=prior, likelihood=likelihood, global_rate=0.0)
    adam = optax.adam(optax.cosine_decay_schedule(config.fit.learning_rate, steps))
    method = jf.mc_drop_path(model, adam, rate=config.drop_path_rate)
    return lambda data, key: scan(
        method, problem.start, data, key, num_steps=steps, batch_size=batch_size
    )[0]


def judged(
    problem: Problem, reference: np.ndarray, key: KeyArray, outputs: Any
) -> dict[str, float]:
    """Scores of draws of the outputs, and their distances from those of the reference."""
    every = jnp.asarray(reference).reshape(-1, *reference.shape[2:])
    if problem.noise:
        return judged_regression(problem, every, key, jnp.asarray(outputs))
    found, target = (jf.Prediction.of(jax.nn.log_softmax(jnp.asarray(x))) for x in (outputs, every))
    compared = metrics.compare(found, target, key, labels=problem.y_test)
    return scores(found, problem.y_test) | intervals(compared)


def judged_regression(
    problem: Problem, reference: Array, key: KeyArray, outputs: Array
) -> dict[str, float]:
    """RMSE and log likelihood, and W2 of predictive distributions, all standardised."""
    key_noise, key_bootstrap = jax.random.split(key)
    mean, scale = moments(outputs)
    log_prob = metrics.gaussian_mixture_log_prob(problem.y_test, mean, scale)
    distances = metrics.wasserstein(
        predictive_draws(outputs, key_noise), predictive_draws(reference, key_noise)
    )[..., 0]
    return {
        "rmse": float(metrics.rmse(mean.mean(0), problem.y_test)),
        "nll": float(-log_prob.mean()),
        **intervals({"w2": metrics.bootstrap(jnp.mean, (distances,), key_bootstrap)}),
    }


def moments(outputs: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of the target, given each draw of the weights."""
    mean, rho = jnp.split(outputs, 2, axis=-1)
    return mean, jax.nn.softplus(rho) + jf.likelihoods.HeteroscedasticGaussian().min_scale


def predictive_draws(outputs: Array, key: KeyArray) -> Array:
    """Draws of the target: of the weights evenly, each with noise of its own."""
    index = jnp.arange(NUM_PREDICTIVE) * len(outputs) // NUM_PREDICTIVE
    mean, scale = moments(jnp.asarray(outputs)[index])
    return mean + scale * jax.random.normal(key, mean.shape)


def ceiling(problem: Problem, outputs: np.ndarray, key: KeyArray) -> dict[str, Estimate]:
    """What one chain reaches against all others together."""
    if not problem.noise:
        return metrics.ceiling(jax.nn.softmax(outputs).mean(1), key)
    distances = []
    for i, chain in enumerate(outputs):
        others = np.delete(outputs, i, axis=0).reshape(-1, *outputs.shape[2:])
        keys = jax.random.split(jax.random.fold_in(key, i))
        draws = [predictive_draws(*of) for of in zip(map(jnp.asarray, (chain, others)), keys)]
        distances.append(metrics.wasserstein(*draws)[..., 0])
    return {"w2": metrics.bootstrap(jnp.mean, (jnp.mean(jnp.array(distances), 0),), key)}


# Report


def comparison_section(name: str, problem: Problem, rows: Rows, reference: Reference) -> Section:
    """All methods on one problem."""
    shown = ("accuracy", "rmse", "nll", "ece", "agreement", *DISTANCES, "symmetric_kl")
    compared = rows.where(method=tuple(m for m in rows.levels("method") if m != "NUTS"))
    distance = "w2" if problem.noise else "total_variation"
    missing = "" if problem.block_net else f" Without {DROP_PATH}: the net has no paths to drop."
    return Section(
        name.capitalize(),
        f"{problem.about}. {problem.num_params:,} weights, prior {problem.model.prior}."
        f"\n\n{reference.diagnosis}\n\nDistances are to the predictions of all draws of NUTS, with "
        "95 % bootstrap intervals over test examples; those of NUTS to itself are 0; one chain is "
        "compared with the others. Cost: gradients over all training data, curvatures of a Laplace "
        f"aside.{missing}",
        report.table(rows, (*shown, "gradients", "seconds"), digits=3),
        [report.intervals(compared, distance, xlabel=f"{report.label(distance)} to NUTS")],
    )
