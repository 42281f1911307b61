"""One fractal net at every price: columns, a column for each block, and early exit.

A trained fractal net (Larsson, Maire & Shakhnarovich, ICLR 2017) is a family of networks: each
column alone, the whole net, and any mixture of lone columns in some blocks and all columns in the
others. This experiment finds the mixtures that are worth their price (block by block, by the
validation likelihood gained for each operation), extracts every network with its batch norm folded
in, and shows accuracy and NLL against floating-point operations and against the latency of one
image. Early exit runs the columns from the shallowest on, and an image leaves when one is sure
enough. Prediction sets of the columns are intersected, so that no set grows with depth (the aim of
Jazbec et al., "Early-exit neural networks with nested prediction sets", UAI 2024).

Laptop: 25,000 training images, 4 epochs of two passes, all 10,000 test images of a JPEG copy of
CIFAR-10; 27 minutes of training and 36 of questions on a single core with other work beside it.

    column of each block      1 1 1 1 1   2 2 2 2 2   3 3 3 3 3   all all all 2 2   whole net
    MFLOPs an image               9.1        29.2        69.3          82.9           107.6
    ms an image                   0.75       1.23        2.28          2.90            6.19
    accuracy                     .658        .724        .730          .733            .736
    NLL (nats)                   .954        .782        .774          .766            .749

Column 2 is the bargain: it takes a quarter of the operations and a fifth of the time of the whole
net, and loses one point of accuracy. Mixtures are rarely better at their price, and a block that
runs column 3 among blocks that run column 2 makes them worse. Early exit lies on the line between
columns 2 and 3 in accuracy (.728 at 53 MFLOPs, .731 at 79) and above it in NLL, because an image
pays for every column that it has passed. Each column's own 90 % sets hold .90, .90 and .89 of the
labels in 2.2, 1.8 and 1.7 classes. Nested sets are larger, 3.5, 2.6 and 2.2 classes, and hold .97,
.95 and .94. The standard error of an accuracy is 0.4 points.

    make experiment NAME=anytime
    make experiment NAME=anytime ARGS="--preset paper"    # 400 epochs; needs a GPU or TPU
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import numpy as np

import jfractal as jf
from experiments import _nets as nets
from experiments import _routes as routes
from experiments import report
from experiments._images import DataConfig, Split
from experiments._nets import TrainConfig
from experiments._timing import milliseconds
from experiments.report import Outcome, Section
from experiments.rows import Rows
from experiments.run import Run
from jfractal import anytime, metrics
from jfractal.nn import BlockNet
from jfractal.typing import Variables

Choice = tuple[int | None, ...]
"""The column that each block runs alone; None is all of them joined."""

THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
COSTS = {"mflops": "MFLOP an image", "latency_ms": "latency (ms)"}


@dataclass(frozen=True)
class Config(nets.Config):
    """Settings of `anytime`."""

    num_timings: int = 100
    """Passes of one image through each network that its latency is the median of."""
    alpha: float = 0.1
    """Share of labels that the prediction sets may miss."""


LAPTOP = Config(
    data=DataConfig(num_train=27_500),
    train=TrainConfig(num_epochs=4, batch_size=48, learning_rate=0.03, routes="two_pass"),
)
PRESETS = {
    "laptop": LAPTOP,
    "paper": Config(**vars(nets.PAPER)),
    "quick": replace(Config(**vars(nets.QUICK)), num_timings=3),
}


def run(config: Config, run: Run) -> Outcome:
    """Trains one net, then asks it at many prices."""
    split = Split.load(config.data, config.seed)
    net = nets.fractal_net(config.model, len(split.source.class_names))
    method = nets.deterministic(config, net, len(split.train[0]))
    variables = nets.train(config, run, method, net, split).variables
    model = nets.model_of(config, net)

    found, exits = networks(config, net, variables, split), Rows()
    variables = nets.recalibrated(net, variables, split, routes=net.columns)
    for threshold in THRESHOLDS:
        figures = early_exit(model, variables, split, threshold)
        exits.add(figures, kind="early exit", threshold=threshold)
    sets = prediction_sets(config, net, variables, split)
    rows = Rows([*found, *exits, *sets])
    mflops = {"mflops": COSTS["mflops"]}
    shares = {f"share_{c}": f"leave after column {c}" for c in net.columns}
    return Outcome(
        split.source.name,
        split.source.requested,
        rows,
        [
            prices_section(rows, text=split.source.note),
            Section(
                "Networks within the net",
                "The column that each block runs alone, or all of them joined.",
                report.table(found, COSTS | routes.SCORES, by=("kind", "network")),
            ),
            Section(
                "Early exit",
                "An image leaves after the first column whose largest probability is at least the "
                "threshold.",
                report.table(exits, mflops | routes.SCORES | shares, by=("threshold",)),
            ),
            Section(
                "Prediction sets",
                f"Sets that should hold the label of {100 * (1 - config.alpha):.0f} % of the "
                "images, calibrated on the validation images: of each column by itself, and "
                "nested, where the sets after all columns together keep that promise.",
                report.table(
                    sets,
                    {"coverage": "coverage", "classes": "classes"},
                    by=("up to",),
                    across="sets",
                    digits=3,
                ),
            ),
            routes.training_section(run),
        ],
    )


# Networks within the net


def networks(config: Config, net: BlockNet, variables: Variables, split: Split) -> Rows:
    """What networks within the net cost and are worth."""
    kinds = {
        "one column": [(c,) * len(net.blocks) for c in net.columns],
        "whole net": [(None,) * len(net.blocks)],
        "block by block": list(upgrades(net, variables, split)),
    }
    choices = dict.fromkeys(choice for group in kinds.values() for choice in group)
    lone = {choice: extracted(net, variables, split, choice) for choice in choices}
    image = split.standardise(split.test[0][:1])
    times = milliseconds(lone, image, num_rounds=config.num_timings)
    rows = Rows()
    for kind, group in kinds.items():
        for choice in group:
            small, leaves = lone[choice]
            prediction = routes.classify(
                small.apply, jf.Point(leaves), split, split.test[0], num_samples=1
            )
            mflops = small.num_flops(split.train[0].shape[1:]) / 1e6
            figures = {"mflops": mflops, "latency_ms": times[choice]}
            figures |= routes.scores(prediction, split.test[1])
            name = " ".join("all" if c is None else str(c) for c in choice)
            rows.add(figures, kind=kind, network=name)
    return rows


def upgrades(net: BlockNet, variables: Variables, split: Split) -> Iterator[Choice]:
    """From the shallowest column on, the upgrade of one block that gains most for its price."""
    ladder = [*net.columns, None]
    choice: Choice = (ladder[0],) * len(net.blocks)
    here = validation(net, variables, split, choice)
    while candidates := [
        (*choice[:i], ladder[ladder.index(c) + 1], *choice[i + 1 :])
        for i, c in enumerate(choice)
        if c is not None
    ]:
        there = [validation(net, variables, split, c) for c in candidates]
        gains = [(here[0] - nll) / (flops - here[1]) for nll, flops in there]
        best = int(np.argmax(gains))
        choice, here = candidates[best], there[best]
        yield choice


def validation(
    net: BlockNet, variables: Variables, split: Split, choice: Choice
) -> tuple[float, int]:
    """NLL in nats per validation image, and operations per image."""
    # A few batches tell enough of statistics to choose by; some fifty choices are looked at.
    small, leaves = extracted(net, variables, split, choice, num_batches=4)
    examples, labels = split.validation
    prediction = routes.classify(small.apply, jf.Point(leaves), split, examples, num_samples=1)
    return routes.scores(prediction, labels)["nll"], small.num_flops(split.train[0].shape[1:])


def extracted(
    net: BlockNet, variables: Variables, split: Split, choice: Choice, **options: int
) -> tuple[BlockNet, Variables]:
    """A network of its own, with the batch statistics that its blocks have together."""
    measured = nets.recalibrated(net, variables, split, routes=(choice,), **options)
    return jf.extract(net, measured, column=choice)


# Early exit


def early_exit(
    model: jf.FractalModel, variables: Variables, split: Split, threshold: float
) -> dict[str, float]:
    """What the cascade costs and is worth at a threshold, and where images leave it."""
    answer = anytime.early_exit(
        model,
        jf.Point(variables),
        np.asarray(split.standardise(split.test[0])),
        jax.random.key(0),
        threshold=threshold,
        batch_size=routes.BATCH,
    )
    labels = split.test[1]
    shares = {f"share_{c}": float((answer.column == c).mean()) for c in model.net.columns}
    return {
        "mflops": float(answer.flops.mean()) / 1e6,
        "accuracy": float(metrics.accuracy(answer.probs, labels)),
        "nll": float(metrics.nll(np.log(np.maximum(answer.probs, 1e-12)), labels)),
        "ece": float(metrics.ece(answer.probs, labels)),
        **shares,
    }


def prediction_sets(config: Config, net: BlockNet, variables: Variables, split: Split) -> Rows:
    """Coverage and size of the sets after each column, nested and apart."""
    point, labels = jf.Point(variables), split.test[1]
    held_out, probs = (
        [
            np.asarray(
                routes.classify(net.column(c).apply, point, split, images, num_samples=1).probs
            )
            for c in net.columns
        ]
        for images in (split.validation[0], split.test[0])
    )
    nested = anytime.nested_sets(probs, held_out, split.validation[1], alpha=config.alpha)
    rows = Rows()
    for c, p, h, together in zip(net.columns, probs, held_out, nested, strict=True):
        threshold = metrics.conformal_threshold(h, split.validation[1], alpha=config.alpha)
        alone = np.asarray(metrics.prediction_sets(p, threshold))
        for kind, inside in {"by itself": alone, "nested": together}.items():
            covered = inside[np.arange(len(labels)), labels].mean()
            figures = {"coverage": covered, "classes": inside.sum(1).mean()}
            rows.add(figures, **{"up to": f"column {c}", "sets": kind})
    return rows


def prices_section(rows: Rows, *, text: str) -> Section:
    """Accuracy and NLL against operations and latency."""
    worth = {"accuracy": "test accuracy", "nll": "test NLL (nats per image)"}
    return Section(
        "What a price buys",
        f"{text}\n\nEvery network is extracted with its batch norm folded in. Latency is that of "
        "one image at a time. Early exit spends what all the columns cost that an image has "
        "passed.",
        pictures=[
            report.curves(rows, price, metric, by="kind", xlabel=COSTS[price], ylabel=label)
            for metric, label in worth.items()
            for price in COSTS
        ],
    )
