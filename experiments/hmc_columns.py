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
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from experiments import report
from experiments._methods import FitConfig, Method, recipes
from experiments._nuts import (
    COMPARED,
    ChainsConfig,
    Reference,
    convergence_section,
    intervals,
    sample,
)
from experiments._problems import DataConfig, ModelConfig, Problem, problems
from experiments._routes import scores
from experiments.ranges import Choices
from experiments.report import Outcome, Section
from experiments.rows import Rows
from experiments.run import Options, Run
from experiments.settings import presets
from jfractal import metrics
from jfractal.typing import KeyArray

WHOLE, ONE_CHAIN = "whole net", "one chain"
FIGURES = ("accuracy", "nll", "agreement", "total_variation")


@dataclass(frozen=True)
class Config(Options):
    """Settings of `hmc_columns`."""

    # What to read at every depth beside NUTS.
    methods: Choices[Method] = (
        "MAP",
        "MC dropout",
        "mean field",
        "IVON",
        "ensemble",
        "Laplace, diagonal",
        "SGHMC",
    )
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    fit: FitConfig = COMPARED
    chains: ChainsConfig = ChainsConfig(target_accept=0.9, max_tree_depth=10)


PRESETS = presets(
    Config(),
    paper={
        "data": {"num_train": 1200},
        "model": {"columns": 4, "width": 32},
        "chains": {"num_chains": 8, "num_warmup": 2000, "num_draws": 2000},
    },
    quick={
        "methods": ("MAP", "mean field"),
        "data": {"num_train": 20, "num_test": 20},
        "model": {"columns": 2, "width": 2},
        "fit": {"num_epochs": 2, "batch_size": 10, "num_samples": 4},
        "chains": {"num_chains": 2, "num_warmup": 10, "num_draws": 10, "max_tree_depth": 3},
    },
)


def run(config: Config, run: Run) -> Outcome:
    """Samples the whole net and its columns, and reads every posterior at every depth."""
    problem = problems(config.data, config.model)["dense fractal"]()
    key_chains, key_fit, key_compare = jax.random.split(jax.random.key(config.seed), 3)
    columns = {WHOLE: None, **{f"column {c}": c for c in problem.net.columns}}
    alone = {route: problem_of(problem, column) for route, column in columns.items()}
    own = {
        route: sample(config.chains, run, route, of, jax.random.fold_in(key_chains, i))
        for i, (route, of) in enumerate(alone.items())
    }
    # The draws of the whole net, run through each column.
    within = {
        route: own[WHOLE].chains.outputs(of.net.apply, problem.x_test)
        for route, of in alone.items()
    }
    rows = by_depth(problem, alone, own, within, key_compare)
    reference = {route: prediction(of) for route, of in within.items()}
    read = partial(read_at_each_depth, config, problem, alone, reference, (key_fit, key_compare))
    methods = run.sweep(read, method=config.methods)
    for route, of in within.items():
        ceiling = metrics.ceiling(jax.nn.softmax(of).mean(1), key_compare)
        methods.add(intervals(ceiling), method=ONE_CHAIN, route=route, layers=layers(alone[route]))
    sections = [
        columns_section(problem, rows, own),
        methods_section(methods),
        *(convergence_section(config.chains, route, of) for route, of in own.items()),
    ]
    rows.extend(methods)
    converged = all(of.diagnosis.converged for of in own.values())
    rows.add({"converged": converged, "num_params": problem.num_params})
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
    draws = jnp.asarray(outputs).reshape(-1, *outputs.shape[2:])
    return jf.Prediction.of(jax.nn.log_softmax(draws))


def by_depth(
    problem: Problem,
    alone: Mapping[str, Problem],
    own: Mapping[str, Reference],
    within: Mapping[str, Any],
    key: KeyArray,
) -> Rows:
    """NUTS at each depth: draws of the whole net, and of the column alone."""
    labels, rows = np.asarray(problem.y_test), Rows()
    for route, of in alone.items():
        fields = {"route": route, "layers": layers(of)}
        whole, column = prediction(within[route]), prediction(own[route].outputs)
        distance = intervals(metrics.compare(whole, column, key))
        rows.add(scores(whole, labels) | distance, posterior="whole net's", **fields)
        rows.add(scores(column, labels), posterior="column's own", **fields)
        figures = own[route].figures
        rows.add(
            {"rhat": figures["nuts_rhat_predictions"], "reasons": figures["reasons"]}, **fields
        )
    return rows


def read_at_each_depth(
    config: Config,
    problem: Problem,
    alone: Mapping[str, Problem],
    reference: Mapping[str, jf.Prediction],
    keys: tuple[KeyArray, KeyArray],
    method: str,
) -> Rows:
    """One posterior of the whole net, at every depth, against NUTS's draws of the whole net."""
    (key, key_compare), size, rows = keys, len(problem.data[1]), Rows()
    last_layer = problem.last_layer
    fits = recipes(config.fit, problem.model, problem.start, size, last_layer=last_layer)
    posterior, number = fits[method](problem.data, key), config.fit.num_samples
    for route, of in alone.items():
        found = jf.predict(of.model, posterior, of.x_test, key, num_samples=number)
        compared = intervals(metrics.compare(found, reference[route], key_compare))
        figures = scores(found, np.asarray(of.y_test)) | compared
        rows.add(figures, route=route, layers=layers(of))
    return rows


# Report


def columns_section(problem: Problem, rows: Rows, own: Mapping[str, Reference]) -> Section:
    """NUTS: each column within the whole posterior, and alone."""
    verdicts = " ".join(f"{name.capitalize()}: {of.diagnosis}" for name, of in own.items())
    caption = "Test NLL of each column, by both posteriors."
    return Section(
        "The posterior at each depth",
        f"{problem.about}. {problem.num_params:,} weights, prior {problem.model.prior}. NUTS of "
        "the whole net, its draws run through each column; and NUTS of each column by itself; "
        f"agreement and total variation between the two.\n\n{verdicts}",
        report.table(rows, FIGURES, by=("route", "layers", "posterior")),
        [by_layers(rows, "nll", "test NLL (nats per image)", caption, by="posterior")],
    )


def methods_section(rows: Rows) -> Section:
    """Every method at every depth."""
    caption = "Distance from NUTS by depth of the column."
    return Section(
        "Every method, read at each depth",
        "Fitted to the whole net; compared with NUTS's draws of the whole net, at the same route. "
        "The last rows are the ceiling: one chain of NUTS against the others.",
        report.table(rows, FIGURES, by=("method", "route")),
        [by_layers(rows, "total_variation", "total variation to NUTS", caption, by="method")],
    )


def by_layers(rows: Rows, metric: str, ylabel: str, caption: str, *, by: str) -> report.Picture:
    """A figure of each column by its depth."""
    columns = rows.where(route=tuple(r for r in rows.levels("route") if r != WHOLE))
    xlabel = "layers of the column"
    return report.curves(
        columns, "layers", metric, by=by, xlabel=xlabel, ylabel=ylabel, caption=caption
    )
