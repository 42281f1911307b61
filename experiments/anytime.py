"""One fractal net at every price: columns, a column for each block, and early exit.

A trained fractal net (Larsson, Maire & Shakhnarovich, ICLR 2017) is a family of networks: each
column alone, the whole net, and any mixture of lone columns in some blocks and all columns in the
others. This experiment finds the mixtures that are worth their price (block by block, by the
validation likelihood gained for each operation), extracts every network with its batch norm folded
in, and shows accuracy and NLL against floating-point operations and against the latency of one
image. Early exit runs the columns from the shallowest on, and an image leaves when one is sure
enough. Prediction sets of the columns are intersected, so that no set grows with depth (the aim of
Jazbec et al., "Early-exit neural networks with nested prediction sets", UAI 2024).

Laptop: 25,000 training images, 4 epochs of the recipe of `cifar_fractal`. Figures: docs/results.md.

    make experiment NAME=anytime
    make experiment NAME=anytime ARGS="--preset paper"    # 400 epochs; needs a GPU or TPU
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import jfractal as jf
from experiments import _exits as exits
from experiments import _nets as nets
from experiments import _routes as routes
from experiments import report
from experiments._images import Split
from experiments._timing import milliseconds
from experiments.ranges import Count, Level
from experiments.report import Outcome, Section, highest
from experiments.rows import Rows
from experiments.run import Run
from experiments.settings import presets
from jfractal import anytime, metrics
from jfractal.nn import BlockNet
from jfractal.typing import Variables

Choice = tuple[int | None, ...]
"""The column that each block runs alone; None is all of them joined."""

THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
COSTS = ("mflops", "latency_ms")


@dataclass(frozen=True)
class Config(nets.Config):
    """Settings of `anytime`."""

    # Passes of one image through each network that its latency is the median of.
    num_timings: Count = 100
    alpha: Level = 0.1  # Share of labels that the prediction sets may miss.


SMALL = {"data": {"num_train": 27_500}, "train": {"num_epochs": 4}}
QUICK = {**nets.QUICK, "num_timings": 3}
PRESETS = presets(Config().but(**nets.RECIPE).but(**SMALL), quick=QUICK)
PRESETS |= {"paper": Config(preset="paper").but(**nets.PAPER)}

FINDING = highest("accuracy", "kind", of="test accuracy")


def run(config: Config, run: Run) -> Outcome:
    """Trains one net, then asks it at many prices."""
    split = Split.load(config.data, config.seed)
    net = nets.fractal_net(config, split.num_classes)
    variables = nets.train(config, run, net, split).variables
    found = networks(config, net, variables, split)
    variables = nets.recalibrated(net, variables, split, routes=net.columns)
    cascade = early_exits(nets.model_of(config, net), variables, split)
    sets = prediction_sets(config, net, variables, split)
    rows = Rows([*found, *cascade, *sets])
    shares = {f"share_{c}": f"leave after column {c}" for c in net.columns}
    of_exits = {of: report.label(of) for of in ("mflops", *routes.SCORES)} | shares
    return Outcome.of(
        split.source,
        rows,
        prices_section(rows),
        Section(
            "Networks within the net",
            "The column that each block runs alone, or all of them joined.",
            report.table(found, (*COSTS, *routes.SCORES), by=("kind", "network")),
        ),
        Section(
            "Early exit",
            "An image leaves after the first column whose largest probability is at least the "
            "threshold.",
            report.table(cascade, of_exits, by=("threshold",)),
        ),
        Section(
            "Prediction sets",
            f"Sets that should hold the label of {100 * (1 - config.alpha):.0f} % of the "
            "images, calibrated on the validation images: of each column by itself, and "
            "nested, where the sets after all columns together keep that promise.",
            report.table(sets, ("coverage", "classes"), by=("up to",), across="sets", digits=3),
        ),
        routes.training_section(run),
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
            mflops = small.num_flops(split.shape) / 1e6
            figures = {"mflops": mflops, "latency_ms": times[choice]}
            figures |= routes.evaluate(small, leaves, split)
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
    scores = routes.evaluate(small, leaves, split, split.validation)
    return scores["nll"], small.num_flops(split.shape)


def extracted(
    net: BlockNet, variables: Variables, split: Split, choice: Choice, **options: int
) -> tuple[BlockNet, Variables]:
    """A network of its own, with the batch statistics that its blocks have together."""
    measured = nets.recalibrated(net, variables, split, routes=(choice,), **options)
    return jf.extract(net, measured, column=choice)


# Early exit


def early_exits(model: jf.FractalModel, variables: Variables, split: Split) -> Rows:
    """What the cascade costs and is worth at each threshold, and where images leave it."""
    rows, (images, labels) = Rows(), split.test
    for threshold in THRESHOLDS:
        left = exits.answer(model, variables, split, images, threshold)
        scores = routes.scores(exits.prediction_of(left), labels)
        figures = exits.spent(left, model.net.columns) | scores
        rows.add(figures, kind="early exit", threshold=threshold)
    return rows


def prediction_sets(config: Config, net: BlockNet, variables: Variables, split: Split) -> Rows:
    """Coverage and size of the sets after each column, nested and apart."""
    point, labels, rows = jf.Point(variables), split.test[1], Rows()
    ask = lambda images: [
        np.asarray(routes.classify(net.column(c).apply, point, split, images, num_samples=1).probs)
        for c in net.columns
    ]
    (images, held_out_labels), probs = split.validation, ask(split.test[0])
    held_out = ask(images)
    nested = anytime.nested_sets(probs, held_out, held_out_labels, alpha=config.alpha)
    for c, p, h, together in zip(net.columns, probs, held_out, nested, strict=True):
        threshold = metrics.conformal_threshold(h, held_out_labels, alpha=config.alpha)
        alone = np.asarray(metrics.prediction_sets(p, threshold))
        for kind, inside in {"by itself": alone, "nested": together}.items():
            rows.add(exits.coverage(inside, labels), **{"up to": f"column {c}", "sets": kind})
    return rows


def prices_section(rows: Rows) -> Section:
    """Accuracy and NLL against operations and latency."""
    return Section(
        "What a price buys",
        "Every network is extracted with its batch norm folded in. Latency is that of one image at "
        "a time. Early exit spends what all the columns cost that an image has passed.",
        pictures=[
            report.curves(rows, price, worth, by="kind")
            for worth in ("accuracy", "nll")
            for price in COSTS
        ],
    )
