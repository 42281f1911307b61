"""How far the deepest column of a fractal net falls behind the whole, and what closes the gap.

The deepest column of FractalNet, extracted, is reported to be as good as the whole net (Larsson,
Maire & Shakhnarovich, ICLR 2017, table 1: 4.68 against 4.60 % error). Ports lose 0.3 to 12 points.
This experiment crosses two suspects. Batch statistics: one running average for all routes
(``shared``), one for the whole net and one for columns alone (``switchable``; Yu et al., ICLR
2019), or statistics measured for each route after training (``recalibrated``; Yu & Huang, ICCV
2019). Training: half of the batches run one random column (``sampled``, the paper's text), every
batch runs the whole net and all columns (``two_pass``, the authors' code; twice the cost), or every
batch runs the whole net and the columns share it (``partitioned``). Statistics do not influence
training, so one training serves all three kinds. Images, epochs and batches are equal.

    make experiment NAME=column_gap
    make experiment NAME=column_gap ARGS="--preset paper"    # 3 × 400 epochs; needs a GPU or TPU

Laptop: 25,000 training images, 4 epochs; 15 minutes on 2 CPU cores. Figures: docs/results.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from experiments import _nets as nets
from experiments import _routes as routes
from experiments import report
from experiments._images import DataConfig, Split
from experiments._nets import TrainConfig
from experiments.report import Outcome, Section
from experiments.rows import Rows
from experiments.run import Run
from experiments.settings import presets, require
from jfractal.nn import BlockNet
from jfractal.typing import Variables

TRAININGS = ("sampled", "two_pass", "partitioned")


@dataclass(frozen=True)
class Config(nets.Config):
    """Settings of `column_gap`; all ``routes`` are trained, and the norm must be ``batch``."""

    data: DataConfig = DataConfig(num_train=27_500)
    train: TrainConfig = TrainConfig(num_epochs=4, batch_size=48, learning_rate=0.03)

    def __post_init__(self):
        super().__post_init__()
        norm = self.model.norm
        require(norm == "batch", f"`norm` must be 'batch' here, got {norm!r}")
        nets.check_parts(self)


PRESETS = presets(
    Config(),
    paper={**nets.PAPER, "train": {**nets.PAPER_TRAIN, "batch_size": 96}},
    quick={**nets.QUICK, "train": {"num_epochs": 1, "batch_size": 40, "log_every": 1}},
)


def run(config: Config, run: Run) -> Outcome:
    """Trains the net in each way, and tests it by each kind of statistics."""
    split, rows = Split.load(config.data, config.seed), Rows()
    best, best_column = {}, -1.0
    for training in TRAININGS:
        for statistics, net, variables in trained(config, run, split, training):
            cell = {"training": training, "statistics": statistics}
            validation, test = (
                accuracies(net, variables, split, part) for part in (split.validation, split.test)
            )
            for route, accuracy in test.items():
                rows.add({"accuracy": accuracy}, **cell, route=route)
            *_, column = test.values()
            rows.add({"gap": 100 * (test["whole net"] - column)}, **cell)
            *_, column = validation.values()
            if column > best_column:  # not by the gap, which a spoilt whole net closes too
                best, best_column = cell, column
    best_gap = rows.values("gap", **best)[0]
    rows.add({"best": " ".join(best.values()), "best_gap": best_gap})
    return Outcome.of(
        split.source,
        rows,
        Section(
            "Whole net less deepest column",
            "Gaps in points of test accuracy, by training and by batch statistics. Of the nine "
            f"deepest columns, the one with {best['training']} training and {best['statistics']} "
            "statistics does best on the validation images; on the test images its gap is "
            f"{best_gap:.2f} points.",
            report.table(rows, ["gap"], by=("training",), across="statistics", digits=2),
        ),
        Section(
            "Every route",
            "Test accuracy of the whole net and of every column alone.",
            report.table(rows, ["accuracy"], by=("training", "statistics"), across="route"),
            [curves(rows.where(training=training), training) for training in TRAININGS],
        ),
        *(routes.training_section(run, training) for training in TRAININGS),
    )


def trained(
    config: Config, run: Run, split: Split, training: str
) -> Iterator[tuple[str, BlockNet, Variables]]:
    """One training of the net, with each kind of batch statistics."""
    config = config.but(train={"routes": training})
    net = nets.fractal_net(config, split.num_classes)
    variables = nets.train(config, run, net, split, name=training).variables
    shared = nets.NetConfig(model=config.model.but(norm="batch_shared"), train=config.train)
    yield "shared", nets.fractal_net(shared, split.num_classes), variables
    yield "switchable", net, variables
    every = (None, *net.columns)
    yield "recalibrated", net, nets.recalibrated(net, variables, split, routes=every)


def accuracies(net: BlockNet, variables: Variables, split: Split, part: Any) -> dict[str, float]:
    """Accuracy of the whole net and of every column, the deepest last."""
    return {
        route: routes.evaluate(of, variables, split, part)["accuracy"]
        for route, of in routes.routes_of(net).items()
    }


def curves(rows: Rows, training: str) -> report.Picture:
    """Accuracy of the columns from the shallowest on, and behind them of the whole net."""
    whole, *columns = rows.levels("route")
    positions = {route: i for i, route in enumerate((*columns, whole), start=1)}
    placed = [{**row, "position": positions[row["route"]]} for row in rows if "route" in row]
    return report.curves(
        Rows(placed),
        "position",
        "accuracy",
        by="statistics",
        xlabel="column alone; last, the whole net",
        ylabel="test accuracy",
        caption=f"{training}, by statistics.",
    )
