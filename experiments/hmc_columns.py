"""How good is the posterior of a single column? Agreement with HMC by depth of a fractal net.

A fractal net holds nets of several depths in one tree of weights, so draws of its posterior answer
at any depth: run the same draws through one column. But the posterior was of the whole net, of
which a column is only a part. Here the No-U-Turn sampler draws from the posterior of the whole net,
and by itself from that of each column alone, on the same digits; their predictions are compared
column by column. And every cheap posterior of the whole net is read at every depth, too, and
compared with NUTS's draws at that depth: are the cheap ones closer to it where the net is shallow?

Measured (seed 0, 21 minutes on one CPU core; all chains converge, R-hat of all predictions at most
1.017, effective sample sizes at least 410, no divergence), accuracy and NLL (nats an image) of 360
test digits:

    route       layers   draws of the whole net   draws of the column   total variation
    whole net      4         0.919   0.490             0.919   0.490          0
    column 1       1         0.708   1.879             0.919   0.465        0.593
    column 2       2         0.694   1.950             0.917   0.441        0.625
    column 3       4         0.883   1.117             0.906   0.450        0.391

A column by itself has as good a posterior as the whole net. But the posterior of the whole net
knows nothing of the column: only the mean of the columns meets the data, and single ones scatter
around it. So one posterior answers at every depth only if its log joint asks it to, as training
with drop-path does. No cheap method of the whole net is close to NUTS in a column (total variation
0.11 to 0.68), and where it is, as the mean field in column 2, column and NUTS both know next to
nothing there.

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
from experiments._classification import scores
from experiments._methods import Fit, FitConfig, chosen, recipes, slug
from experiments._nuts import (
    ChainsConfig,
    convergence_section,
    diagnosed,
    interval_cell,
    intervals,
    predicted,
    reasons,
    sample,
)
from experiments._problems import DataConfig, ModelConfig, Problem, problems
from experiments.report import Outcome, Section, Table
from experiments.run import Options, Run
from jfractal import metrics, viz
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
            LAPTOP.chains, num_chains=8, num_warmup=2000, num_samples=2000, max_tree_depth=10
        ),
    ),
    "quick": replace(
        LAPTOP,
        quick=True,
        methods=("MAP", "mean field"),
        data=DataConfig(num_train=20, num_test=20),
        model=ModelConfig(columns=2, width=2),
        fit=replace(LAPTOP.fit, num_epochs=2, batch_size=10, num_samples=4),
        chains=ChainsConfig(2, num_warmup=10, num_samples=10, max_tree_depth=3),
    ),
}


def run(config: Config, run: Run) -> Outcome:
    """Samples the whole net and its columns, and reads every posterior at every depth."""
    problem = problems(config.data, config.model)["dense fractal"]()
    key_chains, key_fit, key_compare = jax.random.split(jax.random.key(config.seed), 3)
    routes = {WHOLE: None, **{f"column {c}": c for c in problem.net.columns}}
    alone = {name: problem_of(problem, column) for name, column in routes.items()}
    chains, diagnoses, outputs, predictions = {}, {}, {}, {}
    for i, (name, of) in enumerate(alone.items()):
        chains[name] = sample(config.chains, run, name, of, jax.random.fold_in(key_chains, i))
        outputs[name] = np.asarray(chains[name].outputs(of.net.apply, problem.x_test))
        predictions[name] = predicted(of, outputs[name])
        diagnoses[name] = diagnosed(config.chains, chains[name], predictions[name])
    # The draws of the whole net, run through each column.
    by_draw = {
        name: chains[WHOLE].outputs(of.net.apply, problem.x_test) for name, of in alone.items()
    }
    within = {name: prediction(outputs) for name, outputs in by_draw.items()}
    by_column = {
        name: row_of(problem, within[name], prediction(outputs[name]), key_compare)
        for name in routes
    }
    by_method = {}
    for method, fit in fits(config, problem).items():
        one = partial(read, config, alone, fit, within, key_fit, key_compare)
        row = run.once(one, method=method)
        by_method[method] = {
            name: {of.partition("/")[2]: v for of, v in row.items() if of.startswith(f"{name}/")}
            for name in routes
        }
        tqdm.write(f"  {method}")
    by_method[ONE_CHAIN] = {name: ceiling(of, key_compare) for name, of in by_draw.items()}
    figures = {
        **{f"{of}_{slug(name)}": v for name, row in by_column.items() for of, v in row.items()},
        **{
            f"{of}_{slug(method)}_{slug(name)}": value
            for method, rows in by_method.items()
            for name, row in rows.items()
            for of, value in row.items()
        },
        **{f"rhat_{slug(name)}": d.figures["rhat_predictions"] for name, d in diagnoses.items()},
        "converged": all(diagnosis.converged for diagnosis in diagnoses.values()),
        **{f"reasons_{slug(name)}": reasons(of) for name, of in diagnoses.items()},
        "num_params": problem.num_params,
    }
    return Outcome(
        {"dataset": problem.dataset, "dataset_requested": problem.requested, **figures},
        [
            columns_section(config, run, problem, alone, by_column, diagnoses),
            methods_section(run, alone, by_method),
            *(
                convergence_section(
                    config.chains, run, name, chains[name], predictions[name], diagnosis
                )
                for name, diagnosis in diagnoses.items()
            ),
        ],
    )


def problem_of(problem: Problem, column: int | None) -> Problem:
    """The posterior of one column alone; the weights outside it have their prior."""
    net = problem.net.column(column)
    return problem._replace(net=net, log_joint=replace(problem.log_joint, apply=net.apply))


def prediction(outputs: Any) -> jf.Prediction:
    """What all draws of all chains predict together."""
    return jf.Prediction(jax.nn.log_softmax(jnp.asarray(outputs).reshape(-1, *outputs.shape[2:])))


def row_of(
    problem: Problem, within: jf.Prediction, alone: jf.Prediction, key: KeyArray
) -> dict[str, float]:
    """A column as part of the whole posterior against the posterior of the column alone."""
    labels = np.asarray(problem.y_test)
    found = metrics.compare(within, alone, key)
    return {
        **{f"{of}_within": value for of, value in scores(within, labels).items()},
        **{f"{of}_alone": value for of, value in scores(alone, labels).items()},
        **{k: v for of, value in found.items() for k, v in intervals(of, value).items()},
    }


def fits(config: Config, problem: Problem) -> dict[str, Fit]:
    """The methods that the settings name."""
    every = recipes(config.fit, problem.log_joint, problem.init, last_layer=problem.last_layer)
    return chosen(every, config.methods)


def read(
    config: Config,
    alone: Mapping[str, Problem],
    fit: Fit,
    reference: Mapping[str, jf.Prediction],
    key: KeyArray,
    key_compare: KeyArray,
) -> dict[str, float]:
    """One posterior of the whole net, at every depth, against NUTS's draws of the whole net.

    Returns:
        Figures by route and kind, ``column 1/accuracy``.
    """
    posterior, rows = fit(key), {}
    for name, of in alone.items():
        found = jf.predict(
            of.net.apply, posterior, of.x_test, key, num_samples=config.fit.num_samples
        )
        compared = metrics.compare(found, reference[name], key_compare)
        row = scores(found, np.asarray(of.y_test))
        for on, value in compared.items():
            row |= intervals(on, value)
        rows |= {f"{name}/{kind}": value for kind, value in row.items()}
    return rows


def ceiling(outputs: Any, key: KeyArray) -> dict[str, float]:
    """What one chain of the whole net reaches against all others, at a route."""
    found = metrics.ceiling(jax.nn.softmax(outputs).mean(1), key)
    return {k: v for of, value in found.items() for k, v in intervals(of, value).items()}


# Report


def columns_section(
    config: Config,
    run: Run,
    problem: Problem,
    alone: Mapping[str, Problem],
    rows: Mapping[str, Mapping[str, float]],
    diagnoses: Mapping[str, jf.inference.Diagnosis],
) -> Section:
    """NUTS: each column within the whole posterior, and alone."""
    table = []
    for name, row in rows.items():
        cells = [
            round(row[f"{of}_{how}"], 4)
            for how in ("within", "alone")
            for of in ("accuracy", "nll")
        ]
        distances = [interval_cell(row, of) for of in ("agreement", "total_variation")]
        table.append([name, depth_of(alone[name]), *cells, *distances])
    verdicts = " ".join(f"{name.capitalize()}: {of}" for name, of in diagnoses.items())
    columns = [name for name in rows if name != WHOLE]
    depths = [float(depth_of(alone[name])) for name in columns]
    figure = viz.curves(
        {
            "draws of the whole net": (depths, [rows[name]["nll_within"] for name in columns]),
            "draws of the column": (depths, [rows[name]["nll_alone"] for name in columns]),
        },
        xlabel="layers of the column",
        ylabel="test NLL (nats per image)",
    )
    return Section(
        "The posterior at each depth",
        f"{problem.about}. {problem.num_params:,} weights, fan-in prior of scale "
        f"{config.model.prior_scale:g}. NUTS of the whole net, its draws run through each column "
        "(within); and NUTS of each column by itself (alone); agreement and total variation "
        "between the two, with 95 % bootstrap intervals over test images.\n\n" + verdicts,
        Table(
            [
                "route",
                "layers",
                "accuracy, within",
                "NLL, within",
                "accuracy, alone",
                "NLL, alone",
                "agreement",
                "total variation",
            ],
            table,
        ),
        [(run.figure("columns", figure), "Test NLL of each column, by both posteriors.")],
    )


def depth_of(problem: Problem) -> int:
    """Layers on the longest path of the route."""
    return problem.net.depth(column=problem.net.lone)


def methods_section(
    run: Run,
    alone: Mapping[str, Problem],
    by_method: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> Section:
    """Every method at every depth."""
    table = [
        [method, name]
        + [round(row[of], 4) if of in row else "-" for of in ("accuracy", "nll")]
        + [interval_cell(row, of) for of in ("agreement", "total_variation")]
        for method, rows in by_method.items()
        for name, row in rows.items()
    ]
    columns = [name for name in alone if name != WHOLE]
    depths = [float(depth_of(alone[name])) for name in columns]
    figure = viz.curves(
        {
            method: (depths, [rows[name]["total_variation"] for name in columns])
            for method, rows in by_method.items()
        },
        xlabel="layers of the column",
        ylabel="total variation to NUTS",
    )
    return Section(
        "Every method, read at each depth",
        "Fitted to the whole net; compared with NUTS's draws of the whole net, at the same route. "
        "The last rows are the ceiling: one chain of NUTS against the others.",
        Table(["method", "route", "accuracy", "NLL (nats)", "agreement", "total variation"], table),
        [(run.figure("methods", figure), "Distance from NUTS by depth of the column.")],
    )
