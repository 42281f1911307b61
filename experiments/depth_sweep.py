"""Depth: fractal nets of 5 to 40 layers, their deepest columns, and plain nets of equal depth.

FractalNet's central claim: with more columns the whole net goes on improving, and its deepest
column, extracted as a plain net, is about as good; while a plain net of that depth, trained alone,
gets worse and at last fails. Being shallow and deep at once, the fractal trains what does not
train by itself (Larsson, Maire & Shakhnarovich, "FractalNet: Ultra-deep neural networks without
residuals", ICLR 2017, arXiv:1605.07648, §4.3 and table 4). Narrow nets of 1 to C columns, plain
nets of their depths, same data, steps and optimiser. Fractal nets train by two passes, the joined
net and all columns, as in the authors' code; batch statistics are measured anew afterwards, with
nothing dropped; columns are extracted with their batch norm folded in.

    make experiment NAME=depth_sweep                          # 1 to 4 columns: 5 to 40 layers
    make experiment NAME=depth_sweep ARGS="--preset paper"    # to 160 layers; needs a GPU or TPU

Laptop: 10,000 training images, 4 epochs, all 10,000 test images of a JPEG copy of CIFAR-10; 16
minutes on 2 CPU cores. Test accuracy:

    layers                          5      10      20      40
    whole fractal net            .663    .613    .555    .464
    its deepest column           .663    .609    .541    .289
    that column of C = 4         .560    .572    .483    .289
    plain net                    .632    .630    .560    .265

After so few steps the plain net of 40 layers fails; the same 40 layers within the fractal do a
little better (.353 in an earlier run of the same settings), the whole far better; but they too are
at the beginning of their training, and at 10 and 20 layers plain nets are as good as the whole nets
and better than the columns. Nor are the terms quite equal: the loss of two passes is a sum of two,
so at one learning rate the fractal nets take longer steps, and every image passes twice.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import jfractal as jf
from experiments import _classification as classification
from experiments._classification import DataConfig, ModelConfig, Split, TrainConfig
from experiments.report import Outcome, Section, Table
from experiments.run import Run
from jfractal import viz
from jfractal.nn import BlockNet
from jfractal.typing import Variables


@dataclass(frozen=True)
class Config(classification.Config):
    """Settings of `depth_sweep`; ``columns`` is the largest number of columns."""


LAPTOP = Config(
    data=DataConfig(num_train=12_000, num_validation=2000),
    model=ModelConfig(columns=4, kernel_init="he"),
    train=TrainConfig(num_epochs=4, batch_size=32, learning_rate=0.02, routes="two_pass"),
)
PRESETS = {
    "laptop": LAPTOP,
    "paper": replace(
        LAPTOP,
        preset="paper",
        data=classification.PAPER_DATA,
        model=replace(LAPTOP.model, columns=6),
        train=replace(classification.PAPER_TRAIN, routes="two_pass"),
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
    """Trains and tests fractal nets of 1 to C columns, and the plain nets of their depths."""
    source = classification.load(config.data, config.seed)
    split = Split.of(source, config.data.num_validation, config.seed)
    shape = split.train[0].shape[1:]
    scores = {}
    for columns in range(1, config.model.columns + 1):
        for name, net, variables in trained(config, run, split, columns):
            scores[name] = {
                "layers": net.depth(),
                "num_params": net.num_params(shape),
                **test(net, variables, split),
            }
    return Outcome(
        {
            "dataset": source.name,
            "dataset_requested": source.requested,
            **classification.flat(scores),
        },
        [
            depth_section(run, scores, config.model.columns, text=source.note),
            training_section(run, config.model.columns),
            parameters_section(config.model),
        ],
    )


def trained(
    config: Config, run: Run, split: Split, columns: int
) -> Iterator[tuple[str, BlockNet, Variables]]:
    """The fractal net of `columns` columns, each of its columns, and the plain net as deep."""
    config = replace(config, model=replace(config.model, columns=columns))
    num_classes = len(split.source.class_names)
    fractal = classification.fractal_net(config.model, num_classes)
    variables = train(config, run, split, fractal, f"fractal_{columns}")
    routes = (None, *fractal.columns)
    variables = classification.recalibrated(fractal, variables, split, routes=routes)
    yield f"fractal_{columns}", fractal, variables
    for column in fractal.columns:
        extracted = jf.extract(fractal, variables, column=column)
        yield f"fractal_{columns}_column_{column}", *extracted

    options = asdict(config.model)
    del options["columns"]
    plain = jf.PlainNet(num_classes, depth=2 ** (columns - 1), **options)
    alone = replace(
        config,
        train=replace(config.train, routes="sampled", local_rate=0.0, global_rate=0.0),
    )
    yield f"plain_{columns}", plain, train(alone, run, split, plain, f"plain_{columns}")


def train(config: Config, run: Run, split: Split, net: BlockNet, name: str) -> Variables:
    """The trained variables of a net."""
    objective = classification.likelihood_objective(config, net, split)
    return classification.train(config, run, net, split, objective, name=name).model


def test(net: BlockNet, variables: Variables, split: Split) -> dict[str, float]:
    """Scores of one net on the test images."""
    prediction = classification.classify(
        net.apply, jf.Point(variables), split, split.test[0], num_samples=1
    )
    return classification.scores(prediction, split.test[1])


# Report


def depth_section(run: Run, scores: Any, columns: int, *, text: str) -> Section:
    """One row for each depth: the fractal net, its deepest column, the plain net."""
    names = {
        "whole fractal net": "fractal_{0}",
        "its deepest column": "fractal_{0}_column_{0}",
        f"that column of {columns}": f"fractal_{columns}_column_{{0}}",
        "plain net": "plain_{0}",
    }
    depths = range(1, columns + 1)
    layers = [scores[f"fractal_{c}"]["layers"] for c in depths]
    of = lambda key, name: [round(scores[names[name].format(c)][key], 4) for c in depths]
    figure = viz.curves(
        {name: (layers, of("accuracy", name)) for name in names},
        xlabel="layers",
        ylabel="test accuracy",
    )
    parameters = [scores[f"fractal_{c}"]["num_params"] for c in depths]
    figures = [of(key, name) for key in ("accuracy", "nll") for name in names]
    heads = [f"{metric}, {name}" for metric in ("accuracy", "NLL") for name in names]
    return Section(
        "Depth, alone and within the fractal",
        f"{text}\n\nFractal nets of 1 to {columns} columns and the deepest column of each, "
        f"extracted; every column of the net of {columns}; plain nets trained alone. NLL in nats.",
        Table(
            ["columns", "layers", "parameters of the fractal net", *heads],
            list(zip(depths, layers, parameters, *figures)),
        ),
        figures=[(run.figure("depth", figure), "Test accuracy by number of layers.")],
    )


def training_section(run: Run, columns: int) -> Section:
    """Training losses, and validation accuracy epoch by epoch."""
    loss, accuracy = "training loss (nats per image)", "validation accuracy"
    pictures = (
        ("plain", "loss", loss, "Plain nets, each trained alone."),
        ("fractal", "loss", loss, "Fractal nets, the whole of each."),
        ("plain", "accuracy/whole net", accuracy, "Plain nets, after each epoch."),
        ("fractal", "accuracy/column {c}", accuracy, "The deepest column of each fractal net."),
    )
    figures = []
    for kind, key, ylabel, caption in pictures:
        curves = {}
        for c in range(1, columns + 1):
            rows = [row for row in run.rows() if row["net"] == f"{kind}_{c}"]
            of = [(row["epoch"], row[key.format(c=c)]) for row in rows if key.format(c=c) in row]
            epochs, values = zip(*of)
            curves[f"C = {c}"] = epochs, classification.smooth(values)
        name = f"{kind}_{ylabel.split()[1]}"
        figure = viz.curves(curves, xlabel="epoch", ylabel=ylabel)
        figures.append((run.figure(name, figure), caption))
    return Section("Training", figures=figures)


def parameters_section(config: ModelConfig) -> Section:
    """Parameters and cost of the fractal nets of up to 6 columns, by the folds alone."""
    rows = []
    for columns in range(1, 7):
        net = classification.fractal_net(replace(config, columns=columns), 100)
        shape = (32, 32, 3)
        millions = (net.num_params(shape) / 1e6, net.num_flops(shape) / 2e6)
        rows.append([columns, net.depth(), *(round(n, 2) for n in millions)])
    return Section(
        "Size",
        "Counted, not trained: for 32×32×3 images and 100 classes. The paper has 0.26, 0.85, 2.13, "
        "4.78, 10.18 and 21.10 million parameters for widths 16, 32, 64, 128, 128.",
        Table(["columns", "layers", "millions of parameters", "million multiply-adds"], rows),
    )
