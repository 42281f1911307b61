"""Does a net select its own depth? A distribution over its columns, trained with the weights.

The columns of a fractal net are nets of different depth, and drop-path trains all of them equally.
Here the column that predicts is a random variable with a posterior π, which is trained with the
weights on ``Σ_c π_c L_c + KL(π ‖ uniform) / N`` (depth uncertainty: Antorán, Allingham &
Hernández-Lobato, NeurIPS 2020). Does π find the depth that suits the number N of training images?
The baselines are the same net with π fixed at its prior (drop-path in expectation), and the best
column of that net.

    make experiment NAME=learned_depth
    make experiment NAME=learned_depth ARGS="--warm-up 0"        # π learns from the first step on
    make experiment NAME=learned_depth ARGS="--preset paper"     # CIFAR-10; needs a GPU or TPU

Laptop: about 200 s of CPU time; digits, columns of 3, 6 and 12 convolutions. Results:
docs/results.md.
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jfractal as jf
from experiments import _nets as nets
from experiments import _routes as routes
from experiments import report
from experiments._images import DataConfig, Split
from experiments._nets import ModelConfig, TrainConfig
from experiments.ranges import Choices, Count, Fraction, NotNegative
from experiments.report import Outcome, Section, lowest
from experiments.rows import Rows
from experiments.run import Run
from experiments.settings import presets, require
from jfractal import metrics
from jfractal.nn import BlockNet
from jfractal.typing import Variables

CHOICES = ("kl", "most_probable", "best_validation", "best_test")


@dataclass(frozen=True)
class Config(nets.Config):
    """Settings of `learned_depth`; every step runs every column, whatever the drop-path rates."""

    data: DataConfig = DataConfig(name="digits", num_validation=150, flip=False, shift=1)
    model: ModelConfig = ModelConfig(
        widths=(8, 16, 32), norm="group", dropout=(0.0,) * 3, kernel_init="he"
    )
    train: TrainConfig = nets.DIGITS
    # Numbers of training images. Every training takes the same number of steps: those of
    # `train.num_epochs` over all images there are.
    sizes: Choices[Count] = (100, 300, 1287)
    # Learning rate of the distribution over the columns, by Adam.
    routes_learning_rate: NotNegative = 0.05
    # Share of the steps, at the start, in which that distribution stays at its prior.
    warm_up: Fraction = 0.5


PRESETS = presets(
    Config(),
    paper={
        "data": {**nets.PAPER_DATA, "name": "cifar10", "flip": True, "shift": 4},
        "model": {**nets.PAPER_MODEL, "norm": "batch"},
        "train": {**nets.PAPER_TRAIN, "optimizer": "sgd", "log_every": 20},
        "sizes": (1000, 5000, 45_000),
    },
    quick={
        "data": {"num_train": 200, "num_test": 100},
        "model": {"columns": 2, "widths": (4,), "dropout": (0.0,)},
        "train": {"num_epochs": 2, "log_every": 1},
        "sizes": (40,),
    },
)

FINDING = lowest("nll", "answer", of="test NLL", per="size", where={"routes": "learned"})


def run(config: Config, run: Run) -> Outcome:
    """Trains with a learned and with a fixed distribution over columns, on more and more images."""
    split, rows = Split.load(config.data, config.seed), Rows()
    net = nets.fractal_net(config, split.num_classes)
    num_steps = nets.num_steps(config.train, len(split.train[0]))
    rates = {"learned": config.routes_learning_rate, "uniform": 0.0}
    for cell in run.each(size=config.sizes, routes=rates):
        size, kind = cell.values()
        part = subset(split, size, config.seed)
        name = f"{kind}_{size}"
        variables = train(config, run, net, part, rates[kind], num_steps, name=name)
        rows.extend(examine(net, variables, part, **cell))
    answers = rows.where(metric=("nll", "accuracy"))
    return Outcome.of(
        split.source,
        rows,
        selection_section(rows),
        Section(
            "How well it predicts",
            "On the test images, NLL in nats per image. learned: trained and mixed by the learned "
            "distribution. uniform: all columns alike, the drop-path prior. The best column is the "
            "one of the lowest NLL on validation images.",
            report.table(answers, ("nll", "accuracy"), by=("size", "answer"), across="routes"),
        ),
        Section(
            "The distribution in the course of training",
            pictures=[path(run, net, size) for size in config.sizes],
        ),
        routes.structure_section(net),
    )


def subset(split: Split, size: int, seed: int) -> Split:
    """The same images, but `size` of them to train on, equally many of each class."""
    images, labels = split.train
    require(
        1 <= size <= len(labels),
        f"`sizes` must be between 1 and {len(labels)}, the training images there are, got {size}",
    )
    chosen = np.arange(len(labels))
    if size < len(labels):
        _, chosen = jf.data.split_validation(labels, num_validation=size, seed=seed)
    return replace(split, train=(images[chosen], labels[chosen]))


def train(
    config: Config, run: Run, net: BlockNet, split: Split, rate: float, num_steps: int, *, name: str
) -> Variables:
    """Trains a net and its distribution over columns, or continues at its last checkpoint."""
    key_init, key_fit = jax.random.split(jax.random.key(config.seed))
    variables = jax.jit(net.init)(key_init, split.standardise(split.train[0][:1]))
    params = {**variables["params"], "routes": jf.Routes.uniform(len(net.columns))}
    prior, likelihood = jf.priors.Flat(), jf.likelihoods.Categorical()
    model = jf.fractal_model(net, prior=prior, likelihood=likelihood, routes="learned")
    # Adam for the distribution, from the end of the warm-up on; the usual for the weights.
    wait, learn = (optax.constant_schedule(r) for r in (0.0, rate))
    begin = [round(config.warm_up * num_steps)]
    optimizers: dict[Hashable, optax.GradientTransformation] = {
        "weights": nets.optimizer(config.train, num_steps),
        "routes": optax.adam(optax.join_schedules([wait, learn], begin)),
    }
    labels = {name: "routes" if name == "routes" else "weights" for name in params}
    posterior: Any = run.fit(
        jf.maximum_a_posteriori(model, optax.multi_transform(optimizers, labels)),
        {**variables, "params": params},
        split.train,
        key_fit,
        name=name,
        num_steps=num_steps,
        batch_size=min(config.train.batch_size, len(split.train[0])),
        augment=split.augment,
        log_every=config.train.log_every,
        mesh=nets.mesh(config.train.num_devices),
    ).posterior
    return posterior.variables


def examine(net: BlockNet, variables: Variables, split: Split, **fields: Any) -> Rows:
    """The distribution over columns and the exact posterior, and how well each column predicts."""
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    ask = lambda column, images: routes.classify(
        net.column(column).apply, jf.Point(variables), split, images, num_samples=1
    )
    answers = {
        part: {f"column {c}": ask(c, images) for c in net.columns}
        for part, (images, _) in parts.items()
    }
    nll = {
        part: {name: float(metrics.nll(p.log_probs, parts[part][1])) for name, p in each.items()}
        for part, each in answers.items()
    }
    lowest = lambda part: min(nll[part], key=lambda name: nll[part][name])
    learned: jf.Routes = variables["params"]["routes"]
    # Given the weights, log p(c | D) = −N · NLL of column c, but for a constant.
    exact = jf.Routes(-len(split.train[1]) * jnp.array([*nll["train"].values()]))
    shown = learned if fields["routes"] == "learned" else exact
    rows = Rows()
    for name, probability in zip(nll["train"], shown.probs):
        rows.add({"probability": probability}, **fields, answer=name)
    choices = {
        "kl": shown.kl(),
        "most_probable": [*nll["train"]][int(np.argmax(shown.probs))],
        "best_validation": lowest("validation"),
        "best_test": lowest("test"),
    }
    rows.add(choices, **fields)
    tested = answers["test"]
    tested["mixture"] = jf.mixture([*tested.values()], learned.log_probs)
    tested["best column"] = tested[lowest("validation")]
    for name, prediction in tested.items():
        scores = routes.scores(prediction, split.test[1])
        rows.add({name: scores[name] for name in ("nll", "accuracy")}, **fields, answer=name)
    return rows


def selection_section(rows: Rows) -> Section:
    """Which column the distribution prefers, and which one the held-out images."""
    probabilities = rows.where(metric="probability")
    return Section(
        "Which depth the net selects",
        "learned: the distribution that was trained with the weights. uniform: the exact posterior "
        "over columns given weights that were trained with all columns alike, from the likelihoods "
        "of the training images. Beside the most probable column stands the one of the lowest NLL "
        "in the same net, on validation and on test images.",
        report.table(rows, CHOICES, by=("size", "routes"), digits=3),
        [
            report.curves(
                probabilities.where(routes=kind),
                "size",
                "probability",
                by="answer",
                xlabel="training images",
                caption=f"Probability of each column, {kind}.",
            )
            for kind in probabilities.levels("routes")
        ],
    )


def path(run: Run, net: BlockNet, size: int) -> report.Picture:
    """The distribution over columns in the course of a training."""
    rows = Rows()
    for row in run.rows(net=f"learned_{size}"):
        for c in net.columns:
            probability = {"probability": row[f"probability/{c}"]}
            rows.add(probability, step=row["step"], route=f"column {c}")
    caption = f"{size} training images."
    return report.curves(rows, "step", "probability", by="route", caption=caption)
