"""Depth: plain nets of 5 to 40 layers, alone and as columns of one fractal net.

FractalNet's central claim: the deepest column of a fractal net, extracted, is about as good as the
whole net, while a plain net of the same depth, trained alone, is not; being shallow and deep at
once, the fractal trains what cannot be trained by itself (Larsson, Maire & Shakhnarovich,
"FractalNet: Ultra-deep neural networks without residuals", ICLR 2017, arXiv:1605.07648, §4.3).
Every column is extracted as a plain net with its batch norm folded in, and sits in the table beside
the plain net of its depth. Same widths, data, steps and optimiser throughout.

    make experiment NAME=depth_sweep
    make experiment NAME=depth_sweep ARGS="--preset paper"    # 400 epochs; needs a GPU or TPU
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import jfractal as jf
from experiments import _classification as classification
from experiments._classification import DataConfig, ModelConfig, Split, TrainConfig
from experiments.report import Outcome, Section, Table
from experiments.run import Run
from jfractal import viz

FRACTAL = "fractal"


@dataclass(frozen=True)
class Config(classification.Config):
    """Settings of `depth_sweep`."""


LAPTOP = Config(
    data=DataConfig(num_train=12_000, num_validation=2000),
    model=ModelConfig(columns=4, kernel_init="he"),
    train=TrainConfig(num_epochs=8, batch_size=32, learning_rate=0.02),
)
PRESETS = {
    "laptop": LAPTOP,
    "paper": replace(
        LAPTOP,
        preset="paper",
        data=classification.PAPER_DATA,
        train=classification.PAPER_TRAIN,
    ),
    "quick": replace(
        LAPTOP,
        quick=True,
        data=classification.QUICK_DATA,
        model=classification.QUICK_MODEL,
        train=replace(LAPTOP.train, num_epochs=2, batch_size=50, log_every=1),
    ),
}


def run(config: Config, run: Run) -> Outcome:
    """Trains the fractal net and the plain ones; tests all of them."""
    source = classification.load(config.data, config.seed)
    split = Split.of(source, config.data.num_validation, config.seed)
    num_classes, labels = len(source.class_names), split.test[1]

    net = classification.fractal_net(config.model, num_classes)
    objective = classification.likelihood_objective(config, net, split)
    state = classification.train(config, run, net, split, objective, name=FRACTAL)
    scores = {"whole net": test(net, state.model, split, labels)}
    for column in net.columns:
        extracted = jf.extract(net, state.model, column=column)
        scores[f"column {column}"] = test(*extracted, split, labels)

    alone = replace(config, train=replace(config.train, local_rate=0.0, global_rate=0.0))
    for column in net.columns:
        plain = plain_net(config.model, column, num_classes)
        objective = classification.likelihood_objective(alone, plain, split)
        name = f"plain_{plain.depth()}"
        state = classification.train(alone, run, plain, split, objective, name=name)
        scores[name] = test(plain, state.model, split, labels)

    return Outcome(
        {
            "dataset": source.name,
            "dataset_requested": source.requested,
            **classification.flat(scores),
        },
        [
            depth_section(run, net, scores, text=source.note),
            losses_section(run, net),
            classification.structure_section(run, net),
        ],
    )


def plain_net(config: ModelConfig, column: int, num_classes: int) -> Any:
    """The plain net of the depth of a column, with the same units."""
    options = asdict(config)
    del options["columns"]
    return jf.PlainNet(num_classes, depth=2 ** (column - 1), **options)


def test(net: Any, variables: Any, split: Split, labels: Any) -> dict[str, float]:
    """Scores of one net on the test images."""
    prediction = classification.classify(
        net.apply, jf.Point(variables), split, split.test[0], num_samples=1
    )
    return classification.scores(prediction, labels)


def depth_section(run: Run, net: Any, scores: Any, *, text: str) -> Section:
    """Every depth, alone and extracted from the fractal net."""
    rows = []
    for column in net.columns:
        depth = net.depth(column=column)
        plain, extracted = scores[f"plain_{depth}"], scores[f"column {column}"]
        losses = [final_loss(run, *route) for route in ((f"plain_{depth}", 0), (FRACTAL, column))]
        rows.append(
            [
                depth,
                *(round(v, 4) for v in (losses[0], plain["accuracy"], plain["nll"])),
                *(round(v, 4) for v in (losses[1], extracted["accuracy"], extracted["nll"])),
            ]
        )
    whole = scores["whole net"]
    return Section(
        "Depth, alone and within the fractal",
        f"{text}\n\nThe whole fractal net: accuracy {whole['accuracy']:.4f}, "
        f"NLL {whole['nll']:.4f} nats. Training loss: mean over the last tenth of the logged "
        "steps, in nats per image.",
        Table(
            [
                "layers",
                "plain: training loss",
                "plain: accuracy",
                "plain: NLL (nats)",
                "column: training loss",
                "column: accuracy",
                "column: NLL (nats)",
            ],
            rows,
        ),
    )


def losses(run: Run, name: str, column: int) -> tuple[list[float], list[float]]:
    """Epochs and training losses of the steps of one route of one net."""
    rows = [r for r in run.rows() if r["net"] == name and r.get("column") == column]
    return [r["epoch"] for r in rows], [r["loss"] for r in rows]


def final_loss(run: Run, name: str, column: int) -> float:
    """Mean over the last tenth of the logged steps."""
    values = losses(run, name, column)[1]
    last = values[-max(len(values) // 10, 1) :]
    return sum(last) / len(last)


def losses_section(run: Run, net: Any) -> Section:
    """Training curves of plain nets and of the columns of the fractal, one picture each."""
    plain, columns = {}, {}
    for column in net.columns:
        depth = net.depth(column=column)
        for into, route in ((plain, (f"plain_{depth}", 0)), (columns, (FRACTAL, column))):
            epochs, values = losses(run, *route)
            into[f"{depth} layers"] = epochs, classification.smooth(values)
    return Section(
        "Training",
        figures=[
            (
                run.figure(
                    name,
                    viz.training_curves(
                        curves, xlabel="epoch", ylabel="training loss (nats per image)"
                    ),
                ),
                caption,
            )
            for name, curves, caption in (
                ("plain", plain, "Plain nets, each trained alone."),
                ("columns", columns, "The columns of one fractal net, in the batches of each."),
            )
        ],
    )
