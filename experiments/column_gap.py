"""Columns of one fractal net beside their twins: plain nets of the same shape, trained alone.

The deepest column of FractalNet, extracted, is reported to be as good as the whole net (Larsson,
Maire & Shakhnarovich, ICLR 2017, table 1: 4.68 against 4.60 % error); ports lose 0.3 to 12 points.
Whoever wants a net of that shape only would train it alone, so that is what a column has to match.
Every twin has the layers and widths of its column, the recipe of `cifar_fractal`, and as many
images, epochs and batches as the fractal net.

The fractal net is trained in four ways. ``drop-path``: a step runs the whole net or one random
column (the paper's text). ``two passes``: every batch runs the whole net and all columns (the
authors' code; twice the cost). ``shared batches``: every batch runs the whole net, and each column
a part of it. ``distillation``: the same, and half of a column's target is what the whole net says
of the image (as in adaptive depth networks, NeurIPS 2024). Crossed with three kinds of batch
statistics, which training does not depend on: one running average for all routes (``shared``), one
for the whole net and one for columns alone (``switchable``; Yu et al., ICLR 2019), or statistics
measured for each route after training (``recalibrated``; Yu & Huang, ICCV 2019).

    make experiment NAME=column_gap
    make experiment NAME=column_gap ARGS="--preset paper"    # 400 epochs each; needs a GPU or TPU

Laptop: 60,000 images of training for each of 7 nets and 3 seeds; 89 minutes on one core with other
work beside it. Trained in two passes, column 3 was ahead of its twin by 0.64 ± 0.23
points, column 2 level (−0.10 ± 0.20), column 1 behind by 0.33 ± 0.26, and the whole net ahead of
the best twin by 0.79 ± 0.25. All figures: docs/results.md.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import jfractal as jf
from experiments import _nets as nets
from experiments import _routes as routes
from experiments import report
from experiments._images import Split
from experiments._nets import TrainConfig
from experiments.report import Outcome, Section
from experiments.report.words import listed
from experiments.rows import Rows, mean_and_error, slug
from experiments.run import Run, SeedsOptions
from experiments.settings import presets, require
from jfractal.nn import BlockNet
from jfractal.typing import Variables

TRAININGS: dict[str, Mapping[str, Any]] = {
    "drop-path": {"routes": "sampled", "distillation": 0.0},
    "two passes": {"routes": "two_pass", "distillation": 0.0},
    "shared batches": {"routes": "partitioned", "distillation": 0.0},
    "distillation": {"routes": "partitioned", "distillation": 0.5},
}
TWIN = "alone"
"""How a twin is trained."""
SHOWN = "recalibrated"
"""The statistics by which columns are compared with their twins."""


@dataclass(frozen=True)
class Config(nets.Config, SeedsOptions):
    """Settings of `column_gap`, which sets ``routes`` and ``distillation`` by itself."""

    train: TrainConfig = TrainConfig(batch_size=120)

    def __post_init__(self):
        super().__post_init__()
        norm = self.model.norm
        require(norm == "batch", f"`norm` must be 'batch' here, got {norm!r}")
        nets.check_parts(self)


PRESETS = presets(
    Config().but(**nets.RECIPE).but(**nets.SMALL), quick={**nets.QUICK, "num_seeds": 2}
)
PAPER = {**nets.PAPER, "train": {**nets.PAPER_TRAIN, "batch_size": 96}}
PRESETS |= {"paper": Config(preset="paper").but(**PAPER)}


def FINDING(rows: Rows) -> str:
    """What the training gains whose weakest column does best."""
    of = rows.where(metric="lead", statistics=SHOWN)
    leads = lambda training: {
        route: of.values("lead", training=training, route=route) for route in of.levels("route")
    }
    best = max(TRAININGS, key=lambda training: min(map(np.mean, leads(training).values())))
    said = [
        "{:.1f} ± {:.1f} points ({})".format(*mean_and_error(values), route).replace("-", "−")
        for route, values in leads(best).items()
    ]
    return f"a fractal net trained by {best} leads plain nets trained alone by {listed(said)}"


def run(config: Config, run: Run) -> Outcome:
    """Trains twins and fractal nets, and tests every column by each kind of statistics."""
    split, rows = Split.load(config.data, config.seed), Rows()
    each = {"seed": range(config.num_seeds), "training": (TWIN, *TRAININGS)}
    for cell in run.each(**each):
        here = config.but(seed=config.seed + cell["seed"])
        if cell["training"] == TWIN:
            rows.extend(twins(here, run, split, cell["seed"]))
            continue
        for statistics, net, variables in trained(here, run, split, **cell):
            accuracy = accuracies(net, variables, split)
            rows.extend(figures(accuracy, rows, statistics=statistics, **cell))
    return Outcome.of(split.source, rows, *sections(run, rows))


def columns_of(config: Config) -> list[str]:
    """The names of the columns, the deepest last."""
    return [f"column {c}" for c in range(1, config.model.columns + 1)]


def twins(config: Config, run: Run, split: Split, seed: int) -> Rows:
    """Accuracies of the plain nets that columns are compared with."""
    rows, alone = Rows(), config.but(train=nets.ALONE)
    for column, route in enumerate(columns_of(config), start=1):
        options = nets.options(config)
        net = jf.PlainNet(split.num_classes, depth=2 ** (column - 1), **options)
        name = f"twin_of_{slug(route)}_seed_{seed}"
        variables = nets.train(alone, run, net, split, name=name).variables
        rows.add(
            {"accuracy": routes.evaluate(net, variables, split)["accuracy"]},
            **{"training": TWIN, "route": route, "seed": seed},
        )
    return rows


def trained(
    config: Config, run: Run, split: Split, *, training: str, seed: int
) -> Iterator[tuple[str, BlockNet, Variables]]:
    """One training of the fractal net, with each kind of batch statistics."""
    config = config.but(train=TRAININGS[training])
    net = nets.fractal_net(config, split.num_classes)
    name = f"{slug(training)}_seed_{seed}"
    variables = nets.train(config, run, net, split, name=name).variables
    shared = nets.NetConfig(model=config.model.but(norm="batch_shared"), train=config.train)
    yield "shared", nets.fractal_net(shared, split.num_classes), variables
    yield "switchable", net, variables
    every = (None, *net.columns)
    yield SHOWN, net, nets.recalibrated(net, variables, split, routes=every)


def accuracies(net: BlockNet, variables: Variables, split: Split) -> dict[str, float]:
    """Test accuracy of the whole net and of every column, the deepest last."""
    return {
        route: routes.evaluate(of, variables, split)["accuracy"]
        for route, of in routes.routes_of(net).items()
    }


def figures(accuracy: Mapping[str, float], found: Rows, *, seed: int, **fields: str) -> Rows:
    """What one net is worth, in itself and against the twins of its seed.

    Args:
        accuracy: By route, the deepest column last.
        found: With the rows of the twins.
        seed: Of the net and of the twins.
        **fields: Training and statistics.
    """
    alone = {
        row["route"]: row["value"]
        for row in found.where(metric="accuracy", training=TWIN, seed=seed)
    }
    alone["whole net"] = max(alone.values())
    rows = Rows()
    for route, value in accuracy.items():
        lead = {"accuracy": value, "lead": 100 * (value - alone[route])}
        rows.add(lead, route=route, seed=seed, **fields)
    *_, deepest = accuracy.values()
    rows.add({"gap": 100 * (accuracy["whole net"] - deepest)}, seed=seed, **fields)
    return rows


def sections(run: Run, rows: Rows) -> list[Section]:
    """The report."""
    shown = rows.where(statistics=SHOWN)
    return [
        Section(
            "Columns and their twins",
            "Points of test accuracy by which a column of the fractal net, with recalibrated "
            "statistics, is ahead of the plain net of its shape that was trained alone, and by "
            "which the whole net is ahead of the best of the twins; mean over seeds ± its standard "
            "error.",
            report.table(shown, ["lead"], by=("training",), across="route", digits=2),
        ),
        Section(
            "Whole net less deepest column",
            "Gaps in points of test accuracy, by training and by batch statistics.",
            report.table(rows, ["gap"], by=("training",), across="statistics", digits=2),
        ),
        Section(
            "Every route",
            "Test accuracy of the whole net, of every column alone, and of the twins.",
            report.table(
                rows.where(metric="accuracy"),
                ["accuracy"],
                by=("training", "statistics"),
                across="route",
            ),
            [curves(rows)],
        ),
        *(routes.training_section(run, f"{slug(training)}_seed_0") for training in TRAININGS),
    ]


def curves(rows: Rows) -> report.Picture:
    """Accuracy of the columns from the shallowest on, and behind them of the whole net."""
    chosen = [*rows.where(statistics=SHOWN), *rows.where(training=TWIN)]
    accuracy = Rows(chosen).where(metric="accuracy")
    names = sorted(accuracy.levels("route"))  # column 1, column 2, ..., whole net
    placed = [{**row, "position": names.index(row["route"]) + 1} for row in accuracy]
    return report.curves(
        Rows(placed),
        "position",
        "accuracy",
        by="training",
        xlabel="column alone; last, the whole net",
        ylabel="test accuracy",
        caption="By training, with recalibrated statistics; bands are ± one standard error.",
    )
