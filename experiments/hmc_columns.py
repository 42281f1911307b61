"""How good is the posterior of a single column? Agreement with HMC by depth of a fractal net.

A fractal net holds nets of several depths in one tree of weights. Draws from its posterior can
therefore predict at any depth, by running them through one column. But the posterior is that of the
whole net, and a column is only a part of it. NUTS draws from the posterior of the whole net and,
separately, from that of each column alone, on the same digits. Their predictions are compared
column by column. Every cheap posterior of the whole net also predicts at every depth. Results:
docs/results.md. Laptop: 7 minutes on one core.

    make experiment NAME=hmc_columns
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import jfractal as jf
from experiments import report
from experiments._methods import FitConfig, Method, recipes
from experiments._nuts import COMPARED, QUICK, ChainsConfig, convergence_section, sample
from experiments._problems import DataConfig, ModelConfig, Problem, problems
from experiments._routes import scores
from experiments.ranges import Choices
from experiments.report import Outcome, Section, lowest
from experiments.rows import Rows, intervals
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
    quick={**QUICK, "methods": ("MAP", "mean field"), "data": {"num_train": 20, "num_test": 20}},
)

FINDING = lowest(
    "total_variation",
    "method",
    of="total variation from NUTS",
    per="route",
    without=(ONE_CHAIN,),
)


def run(config: Config, run: Run) -> Outcome:
    """Samples the whole net and its columns, and reads every posterior at every depth."""
    problem = problems(config.data, config.model)["dense fractal"]()
    key_chains, key_fit, key = jax.random.split(jax.random.key(config.seed), 3)
    routes = {WHOLE: problem, **{f"column {c}": alone(problem, c) for c in problem.net.columns}}
    own = {
        route: sample(config.chains, run, route, of, jax.random.fold_in(key_chains, i))
        for i, (route, of) in enumerate(routes.items())
    }
    rows, methods, reference = Rows(), Rows(), {}
    for route, of in routes.items():
        fields = {"route": route, "layers": layers(of)}
        # The draws of the whole net, run through the column.
        outputs = own[WHOLE].chains.outputs(of.net.apply, of.x_test)
        reference[route], by_itself = prediction(outputs), prediction(own[route].outputs)
        compared = intervals(metrics.compare(reference[route], by_itself, key))
        found = {"whole net's": scores(reference[route], of.y_test) | compared}
        found["column's own"] = scores(by_itself, of.y_test)
        for posterior, figures in found.items():
            rows.add(figures, posterior=posterior, **fields)
        rhat = own[route].figures["nuts_rhat_predictions"]
        rows.add({"rhat": rhat, "reasons": own[route].figures["reasons"]}, **fields)
        ceiling = metrics.ceiling(jax.nn.softmax(outputs).mean(1), key)
        methods.add(intervals(ceiling), method=ONE_CHAIN, **fields)
    read = partial(read_at_each_depth, config, routes, reference, (key_fit, key))
    methods = Rows([*run.sweep(read, method=config.methods), *methods])
    about = f"{problem.about}. {problem.num_params:,} weights, prior {problem.model.prior}."
    sections = [
        columns_section(rows, about),
        methods_section(methods),
        *(convergence_section(config.chains, route, of) for route, of in own.items()),
    ]
    converged = all(of.diagnosis.converged for of in own.values())
    rows = Rows([*rows, *methods])
    rows.add({"converged": converged, "num_params": problem.num_params})
    return Outcome(problem.dataset, problem.requested, rows, sections)


def alone(problem: Problem, column: int) -> Problem:
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


def read_at_each_depth(
    config: Config,
    routes: Mapping[str, Problem],
    reference: Mapping[str, jf.Prediction],
    keys: tuple[KeyArray, KeyArray],
    method: str,
) -> Rows:
    """One posterior of the whole net, at every depth, against NUTS's draws of the whole net."""
    (key, key_compare), whole, rows = keys, routes[WHOLE], Rows()
    size, last_layer = len(whole.data[1]), whole.last_layer
    fits = recipes(config.fit, whole.model, whole.start, size, last_layer=last_layer)
    posterior, number = fits[method](whole.data, key), config.fit.num_samples
    for route, of in routes.items():
        found = jf.predict(of.model, posterior, of.x_test, key, num_samples=number)
        compared = intervals(metrics.compare(found, reference[route], key_compare))
        rows.add(scores(found, of.y_test) | compared, route=route, layers=layers(of))
    return rows


# Report


def columns_section(rows: Rows, about: str) -> Section:
    """NUTS: each column within the whole posterior, and alone."""
    return Section(
        "The posterior at each depth",
        f"{about} NUTS of the whole net, its draws run through each column; and NUTS of each "
        "column by itself; agreement and total variation between the two.",
        report.table(rows, FIGURES, by=("route", "layers", "posterior")),
        [report.curves(columns_of(rows), "layers", "nll", by="posterior")],
    )


def methods_section(rows: Rows) -> Section:
    """Every method at every depth."""
    return Section(
        "Every method, read at each depth",
        "Fitted to the whole net; compared with NUTS's draws of the whole net, at the same route. "
        "The last rows are the ceiling: one chain of NUTS against the others.",
        report.table(rows, FIGURES, by=("method", "route")),
        [report.curves(columns_of(rows), "layers", "total_variation")],
    )


def columns_of(rows: Rows) -> Rows:
    """The rows of columns that run alone."""
    return rows.where(route=tuple(route for route in rows.levels("route") if route != WHOLE))
