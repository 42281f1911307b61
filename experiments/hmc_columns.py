"""How good is the posterior of a single column? Agreement with HMC by depth of a fractal net.

A fractal net holds nets of several depths in one tree of weights, so draws of its posterior answer
at any depth: run the same draws through one column. But the posterior is of the whole net, of which
a column is only a part. NUTS draws from the posterior of the whole net, and by itself from that of
each column alone, on the same digits; their predictions are compared column by column. Every cheap
posterior of the whole net is read at every depth, too. Figures: docs/results.md. Laptop: 7 minutes
on one core.

    make experiment NAME=hmc_columns
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

import jfractal as jf
from experiments import report
from experiments._methods import Fit, FitConfig, chosen, recipes
from experiments._nuts import (
    ChainsConfig,
    convergence_section,
    diagnosed,
    intervals,
    predicted,
    reasons,
    sample,
)
from experiments._problems import DataConfig, ModelConfig, Problem, problems
from experiments._routes import scores
from experiments.report import Outcome, Section
from experiments.rows import Rows
from experiments.run import Options, Run
from jfractal import metrics
from jfractal.typing import KeyArray

WHOLE, ONE_CHAIN = "whole net", "one chain"


@dataclass(frozen=True)
class Config(Options):
    """Settings of `hmc_columns`."""

    methods: tuple[str, ...] = (
        "MAP",
        "MC dropout",
        "mean field",
        "IVON",
        "ensemble",
        "Laplace, diagonal",
        "SGHMC",
    )
    """What to read at every depth beside NUTS."""
    data: DataConfig = field(default_factory=DataConfig)
    """The digits."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The fractal net of dense units and its prior."""
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            num_epochs=1000,
            batch_size=50,
            learning_rate=3e-3,
            scale=0.05,
            dropout_rate=0.1,
            num_members=10,
            num_samples=200,
        )
    )
    """The methods."""
    chains: ChainsConfig = field(
        default_factory=lambda: ChainsConfig(target_accept=0.9, max_tree_depth=10)
    )
    """NUTS, of the whole net and of each column."""


LAPTOP = Config()
PRESETS = {
    "laptop": LAPTOP,
    "paper": replace(
        LAPTOP,
        preset="paper",
        data=replace(LAPTOP.data, num_train=1200),
        model=replace(LAPTOP.model, columns=4, width=32),
        chains=replace(
            LAPTOP.chains, num_chains=8, num_warmup=2000, num_draws=2000, max_tree_depth=10
        ),
    ),
    "quick": replace(
        LAPTOP,
        quick=True,
        methods=("MAP", "mean field"),
        data=DataConfig(num_train=20, num_test=20),
        model=ModelConfig(columns=2, width=2),
        fit=replace(LAPTOP.fit, num_epochs=2, batch_size=10, num_samples=4),
        chains=ChainsConfig(2, num_warmup=10, num_draws=10, max_tree_depth=3),
    ),
}


def run(config: Config, run: Run) -> Outcome:
    """Samples the whole net and its columns, and reads every posterior at every depth."""
    problem = problems(config.data, config.model)["dense fractal"]()
    key_chains, key_fit, key_compare = jax.random.split(jax.random.key(config.seed), 3)
    columns = {WHOLE: None, **{f"column {c}": c for c in problem.net.columns}}
    alone = {route: problem_of(problem, column) for route, column in columns.items()}
    chains, diagnoses, outputs, predictions = {}, {}, {}, {}
    for i, (route, of) in enumerate(alone.items()):
        chains[route] = sample(config.chains, run, route, of, jax.random.fold_in(key_chains, i))
        outputs[route] = np.asarray(chains[route].outputs(of.net.apply, problem.x_test))
        predictions[route] = predicted(of, outputs[route])
        diagnoses[route] = diagnosed(config.chains, chains[route], predictions[route])
    # The draws of the whole net, run through each column.
    by_draw = {
        route: chains[WHOLE].outputs(of.net.apply, problem.x_test) for route, of in alone.items()
    }
    within = {route: prediction(of) for route, of in by_draw.items()}
    labels, rows, methods = np.asarray(problem.y_test), Rows(), Rows()
    for route, of in alone.items():
        by_column = prediction(outputs[route])
        fields = {"route": route, "layers": of.net.depth(column=of.net.lone)}
        for posterior, found in (("whole net's", within[route]), ("column's own", by_column)):
            rows.add(scores(found, labels), posterior=posterior, **fields)
        distance = metrics.compare(within[route], by_column, key_compare)
        rows.add(intervals(distance), posterior="whole net's", **fields)
        figures = {"rhat": diagnoses[route].figures["rhat_predictions"]}
        rows.add(figures | {"reasons": reasons(diagnoses[route])}, **fields)
    for method, fit in fits(config, problem).items():
        one = partial(read, config, alone, problem, fit, within, key_fit, key_compare)
        for route, figures in run.once(one, method=method).items():
            methods.add(figures, method=method, route=route, layers=layers(alone[route]))
        tqdm.write(f"  {method}")
    for route, of in by_draw.items():
        ceiling = metrics.ceiling(jax.nn.softmax(of).mean(1), key_compare)
        methods.add(intervals(ceiling), method=ONE_CHAIN, route=route, layers=layers(alone[route]))
    converged = all(diagnosis.converged for diagnosis in diagnoses.values())
    summary = {"converged": converged, "num_params": problem.num_params}
    sections = [
        columns_section(config, problem, rows, diagnoses),
        methods_section(methods),
        *(
            convergence_section(config.chains, route, chains[route], predictions[route], of)
            for route, of in diagnoses.items()
        ),
    ]
    rows.rows += methods.rows
    rows.add(summary)
    return Outcome(problem.dataset, problem.requested, rows, sections)


def problem_of(problem: Problem, column: int | None) -> Problem:
    """The posterior of one column alone; the weights outside it have their prior."""
    net = problem.net.column(column)
    return problem._replace(net=net, model=replace(problem.model, apply=net.apply))


def layers(problem: Problem) -> int:
    """Layers on the longest path of the route."""
    return problem.net.depth(column=problem.net.lone)


def prediction(outputs: Any) -> jf.Prediction:
    """What all draws of all chains predict together."""
    return jf.Prediction.of(
        jax.nn.log_softmax(jnp.asarray(outputs).reshape(-1, *outputs.shape[2:]))
    )


def fits(config: Config, problem: Problem) -> dict[str, Fit]:
    """The methods that the settings name."""
    size = len(problem.data[1])
    every = recipes(config.fit, problem.model, problem.start, size, last_layer=problem.last_layer)
    return chosen(every, config.methods)


def read(
    config: Config,
    alone: Mapping[str, Problem],
    problem: Problem,
    fit: Fit,
    reference: Mapping[str, jf.Prediction],
    key: KeyArray,
    key_compare: KeyArray,
) -> dict[str, dict[str, float]]:
    """One posterior of the whole net, at every depth, against NUTS's draws of the whole net."""
    posterior, rows = fit(problem.data, key), {}
    for route, of in alone.items():
        found = jf.predict(of.model, posterior, of.x_test, key, num_samples=config.fit.num_samples)
        compared = metrics.compare(found, reference[route], key_compare)
        rows[route] = scores(found, np.asarray(of.y_test)) | intervals(compared)
    return rows


# Report


def columns_section(
    config: Config,
    problem: Problem,
    rows: Rows,
    diagnoses: Mapping[str, jf.inference.Diagnosis],
) -> Section:
    """NUTS: each column within the whole posterior, and alone."""
    verdicts = " ".join(f"{name.capitalize()}: {of}" for name, of in diagnoses.items())
    names = {
        "accuracy": "accuracy",
        "nll": "NLL (nats)",
        "agreement": "agreement",
        "total_variation": "total variation",
    }
    columns = rows.where(route=tuple(r for r in rows.levels("route") if r != WHOLE))
    return Section(
        "The posterior at each depth",
        f"{problem.about}. {problem.num_params:,} weights, fan-in prior of scale "
        f"{config.model.prior_scale:g}. NUTS of the whole net, its draws run through each column; "
        "and NUTS of each column by itself; agreement and total variation between the two. "
        f"\n\n{verdicts}",
        report.table(rows, names, by=("route", "layers", "posterior")),
        [
            report.curves(
                columns,
                "layers",
                "nll",
                by="posterior",
                xlabel="layers of the column",
                ylabel="test NLL (nats per image)",
                caption="Test NLL of each column, by both posteriors.",
            )
        ],
    )


def methods_section(rows: Rows) -> Section:
    """Every method at every depth."""
    names = {
        "accuracy": "accuracy",
        "nll": "NLL (nats)",
        "agreement": "agreement",
        "total_variation": "total variation",
    }
    columns = rows.where(route=tuple(r for r in rows.levels("route") if r != WHOLE))
    return Section(
        "Every method, read at each depth",
        "Fitted to the whole net; compared with NUTS's draws of the whole net, at the same route. "
        "The last rows are the ceiling: one chain of NUTS against the others.",
        report.table(rows, names, by=("method", "route")),
        [
            report.curves(
                columns,
                "layers",
                "total_variation",
                xlabel="layers of the column",
                ylabel="total variation to NUTS",
                caption="Distance from NUTS by depth of the column.",
            )
        ],
    )
