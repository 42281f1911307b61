"""Depth: fractal nets of 3 to 48 layers, their deepest columns, and plain nets of equal depth.

FractalNet's central claim: with more columns the whole net goes on improving, and its deepest
column, extracted as a plain net, is about as good, while a plain net of that depth, trained alone,
gets worse and finally fails. The fractal net is shallow and deep at once, and trains what does not
train by itself (Larsson, Maire & Shakhnarovich, "FractalNet: Ultra-deep neural networks without
residuals", ICLR 2017, arXiv:1605.07648, §4.3 and table 4). This experiment trains fractal nets of 1
to C columns and plain nets of their depths by the recipe of `cifar_fractal`, with the same data and
the same steps. The recipe itself may save a deep plain net, as all kernels start near the identity;
so each plain net is also trained from a random start, as in the paper. Batch statistics of fractal
nets are measured again afterwards, with nothing dropped, and columns are extracted with their batch
norm folded in.

    make experiment NAME=depth_sweep                          # 1 to 5 columns: 3 to 48 layers
    make experiment NAME=depth_sweep ARGS="--preset paper"    # to 160 layers; needs a GPU or TPU

Figures: docs/results.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jfractal as jf
from experiments import _nets as nets
from experiments import _routes as routes
from experiments import report
from experiments._images import Split
from experiments.report import Outcome, Picture, Section, highest
from experiments.rows import Rows, slug
from experiments.run import Run, SeedsOptions
from experiments.settings import presets
from jfractal import viz
from jfractal.nn import BlockNet
from jfractal.typing import Variables

STARTS = {"aligned": "plain net", "he": "plain net from a random start"}
"""How the kernels of plain nets start, and what these are called."""


@dataclass(frozen=True)
class Config(nets.Config, SeedsOptions):
    """Settings of `depth_sweep`; ``columns`` is the largest number of columns."""


SMALL = nets.SMALL | {
    "data": {"num_train": 12_500},
    "model": {"widths": (16, 32, 64), "columns": 5},
}
PRESETS = presets(Config().but(**nets.RECIPE).but(**SMALL), quick={**nets.QUICK, "num_seeds": 2})
PAPER_MODEL = {**nets.PAPER_MODEL, "columns": 6}
PAPER_TRAIN = {**nets.PAPER_TRAIN, "routes": "two_pass"}  # as in the authors' code
PAPER = {"data": nets.PAPER_DATA, "model": PAPER_MODEL, "train": PAPER_TRAIN, "num_seeds": 1}
PRESETS |= {"paper": Config(preset="paper").but(**PAPER)}

FINDING = highest("accuracy", "net", "layers", of="test accuracy")


def run(config: Config, run: Run) -> Outcome:
    """Trains and tests fractal nets of 1 to C columns, and the plain nets of their depths."""
    split, rows = Split.load(config.data, config.seed), Rows()
    most = config.model.columns
    for cell in run.each(seed=range(config.num_seeds), columns=range(1, most + 1)):
        for name, net, variables in trained(config, run, split, **cell):
            figures = {"num_params": net.num_params(split.shape)}
            figures |= routes.evaluate(net, variables, split)
            rows.add(figures, net=name, layers=net.depth(), seed=cell["seed"])
    names = ("num_params", *routes.SCORES)
    return Outcome.of(
        split.source,
        rows,
        Section(
            "Depth, alone and within the fractal",
            f"Test accuracy of fractal nets of 1 to {most} columns, of the deepest column of each, "
            f"extracted, of every column of the net of {most}, and of plain nets trained alone; "
            f"means over {config.num_seeds} seeds ± standard errors.",
            report.table(rows, ["accuracy"], by=("layers",), across="net"),
            [report.curves(rows, "layers", "accuracy", by="net", ylabel="test accuracy")],
        ),
        Section("Size and likelihood", table=report.table(rows, names, by=("net", "layers"))),
        training_section(run, most),
        size_section(config),
    )


def trained(
    config: Config, run: Run, split: Split, *, columns: int, seed: int
) -> Iterator[tuple[str, BlockNet, Variables]]:
    """The fractal net of `columns` columns, columns of it, and the plain nets as deep."""
    most, classes = config.model.columns, split.num_classes
    config = config.but(seed=config.seed + seed, model={"columns": columns})
    fractal = nets.fractal_net(config, classes)
    name = f"fractal_{columns}_seed_{seed}"
    variables = nets.train(config, run, fractal, split, name=name).variables
    every = (None, *fractal.columns)
    variables = nets.recalibrated(fractal, variables, split, routes=every)
    yield "whole fractal net", fractal, variables
    yield "its deepest column", *jf.extract(fractal, variables, column=columns)
    for column in fractal.columns if columns == most else ():
        yield f"that column of {most}", *jf.extract(fractal, variables, column=column)

    for start, kind in STARTS.items():
        alone = config.but(train=nets.ALONE, model={"kernel_init": start})
        plain = jf.PlainNet(classes, depth=2 ** (columns - 1), **nets.options(alone))
        name = f"{slug(kind)}_{columns}_seed_{seed}"
        yield kind, plain, nets.train(alone, run, plain, split, name=name).variables


def training_section(run: Run, columns: int) -> Section:
    """Training losses, and validation accuracy epoch by epoch."""
    loss, accuracy = "training loss (nats per image)", "validation accuracy"
    pictures = (
        ("plain_net", "loss", loss, "Plain nets, each trained alone."),
        ("fractal", "loss", loss, "Fractal nets: the mean over the whole net and its columns."),
        ("plain_net", "validation/accuracy/whole net", accuracy, "Plain nets."),
        ("fractal", "validation/accuracy/column {c}", accuracy, "The deepest columns."),
    )
    shown = []
    for kind, key, ylabel, caption in pictures:
        series = {
            f"C = {c}": routes.logged(run, key.format(c=c), net=f"{kind}_{c}_seed_0")
            for c in range(1, columns + 1)
        }
        shown.append(Picture(viz.curves(series, xlabel="epoch", ylabel=ylabel), caption))
    return Section("Training", pictures=shown)


def size_section(config: Config) -> Section:
    """Parameters and cost of the fractal nets of up to 6 columns, by the folds alone."""
    rows, shape = Rows(), (32, 32, 3)
    for columns in range(1, 7):
        net = nets.fractal_net(config.but(train=nets.ALONE, model={"columns": columns}), 100)
        millions = {"parameters": net.num_params(shape) / 1e6, "macs": net.num_flops(shape) / 2e6}
        rows.add(millions, columns=columns, layers=net.depth())
    names = {"parameters": "millions of parameters", "macs": "million multiply-adds"}
    return Section(
        "Size",
        "Counted, not trained: for 32×32×3 images and 100 classes. The paper has 0.26, 0.85, 2.13, "
        "4.78, 10.18 and 21.10 million parameters for widths 16, 32, 64, 128, 128.",
        report.table(rows, names, by=("columns", "layers"), digits=2),
    )
