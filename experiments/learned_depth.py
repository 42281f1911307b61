"""Does a net select its own depth? A distribution over its columns, trained with the weights.

The columns of a fractal net are nets of different depth, and drop-path trains them all alike. Here
the column that answers is a random variable with a posterior π, which is trained with the weights
on ``Σ_c π_c L_c + KL(π ‖ uniform) / N`` (depth uncertainty: Antorán, Allingham & Hernández-Lobato,
NeurIPS 2020). Does π find the depth that suits the number N of training images? The comparison is
the same net with π fixed at its prior (drop-path in expectation), and the best of its columns.

    make experiment NAME=learned_depth
    make experiment NAME=learned_depth ARGS="--warm-up 0"        # π learns from the first step on
    make experiment NAME=learned_depth ARGS="--preset paper"     # CIFAR-10; needs a GPU or TPU

Laptop: about 200 s of CPU time. Digits, columns of 3, 6 and 12 convolutions, 360 test images;
seeds 0, 1, 2:

    training images                                      100               300              1287
    π of column 1                               .03 .05 .03       .01 .01 .01       .01 .01 .01
    π of column 2                               .46 .38 .55       .80 .94 .77       .96 .94 .85
    π of column 3                               .51 .57 .42       .19 .05 .22       .04 .05 .15
    KL(π ‖ uniform), nats                       .30 .26 .30       .56 .84 .52       .90 .86 .64
    column of the lowest test NLL                  1   2   1         2   2   2         2   2   3
    test NLL, mixture by π                   .394 .270 .340    .162 .095 .114    .117 .094 .091
    test NLL, uniform drop-path              .349 .243 .316    .160 .132 .148    .130 .114 .112
    test NLL, best column of that (by val.)  .468 .339 .459    .204 .240 .139    .201 .125 .125
    accuracy, mixture by π                   .875 .883 .903    .933 .972 .969    .956 .969 .978
    accuracy, uniform drop-path              .933 .944 .931    .975 .975 .978    .986 .989 .992

π selects a depth, and more firmly with more images. With 300 images and more, the test images
prefer the same column five times out of six. But π selects by the training likelihood, and weights
that are points pay nothing for overfitting: columns 2 and 3 fit 100 images equally well, so about
half of π lies on column 3, by far the worst on test images. Selection also has a price. Mixing all
columns alike is more accurate at every size, and has the better NLL with 100 images, though not
with 1287. And the result depends on the optimisation. If π learns from the first step on, it closes
on one column within 75 steps (at .97 and more) and leaves the others untrained: column 2 with seed
0, column 3 with seed 1, with 100 images as with 1287.
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
from experiments.report import Outcome, Section
from experiments.rows import Rows
from experiments.run import Run
from jfractal import metrics
from jfractal.nn import BlockNet
from jfractal.typing import Variables


@dataclass(frozen=True)
class Config(nets.Config):
    """Settings of `learned_depth`; every step runs every column, whatever the drop-path rates."""

    sizes: tuple[int, ...] = (100, 300, 1287)
    """Numbers of training images. Every training takes the same number of steps: those of
    `train.num_epochs` over all images there are."""
    routes_learning_rate: float = 0.05
    """Learning rate of the distribution over the columns, by Adam."""
    warm_up: float = 0.5
    """Share of the steps, at the start, in which that distribution stays at its prior."""


LAPTOP = Config(
    data=DataConfig(name="digits", num_validation=150, flip=False, shift=1),
    model=ModelConfig(widths=(8, 16, 32), dropout=(0.0, 0.0, 0.0), norm="group", kernel_init="he"),
    train=TrainConfig(
        optimizer="adam",
        num_epochs=24,
        batch_size=50,
        learning_rate=3e-3,
        weight_decay=0.0,
        log_every=5,
    ),
)
PRESETS = {
    "laptop": LAPTOP,
    "paper": replace(Config(**vars(nets.PAPER)), sizes=(1000, 5000, 45_000)),
    "quick": replace(
        LAPTOP,
        quick=True,
        sizes=(40,),
        data=replace(LAPTOP.data, num_train=200, num_test=100),
        model=replace(LAPTOP.model, columns=2, widths=(4,), dropout=(0.0,)),
        train=replace(LAPTOP.train, num_epochs=2, log_every=1),
    ),
}


def run(config: Config, run: Run) -> Outcome:
    """Trains with a learned and with a fixed distribution over columns, on more and more images."""
    if not 0 <= config.warm_up <= 1:
        raise jf.InputError(f"`warm_up` must be in [0, 1], got {config.warm_up}")
    split, rows = Split.load(config.data, config.seed), Rows()
    net = nets.fractal_net(config.model, len(split.source.class_names))
    num_steps = nets.num_steps(config.train, len(split.train[0]))
    for size in config.sizes:
        part = subset(split, size, config.seed)
        for kind, rate in (("learned", config.routes_learning_rate), ("uniform", 0.0)):
            variables = train(config, run, net, part, rate, num_steps, name=f"{kind}_{size}")
            rows.rows += examine(net, variables, part, size=size, routes=kind).rows
    paths = [path(run, net, size) for size in config.sizes]
    return Outcome(
        split.source.name,
        split.source.requested,
        rows,
        [
            selection_section(rows, text=split.source.note),
            Section(
                "How well it predicts",
                "On the test images, NLL in nats per image. learned: trained and mixed by the "
                "learned distribution. uniform: all columns alike, the drop-path prior. The best "
                "column is the one of the lowest NLL on validation images.",
                report.table(
                    rows.where(metric=("nll", "accuracy")),
                    {"nll": "NLL", "accuracy": "accuracy"},
                    by=("size", "answer"),
                    across="routes",
                ),
            ),
            Section("The distribution in the course of training", pictures=paths),
            routes.structure_section(net),
        ],
    )


def subset(split: Split, size: int, seed: int) -> Split:
    """The same images, but `size` of them to train on, equally many of each class."""
    images, labels = split.train
    if not 1 <= size <= len(labels):
        raise jf.InputError(
            f"`sizes` must be between 1 and {len(labels)}, the training images there are, "
            f"got {size}"
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
    model = jf.fractal_model(
        net,
        prior=jf.priors.Flat(),
        likelihood=jf.likelihoods.Categorical(),
        routes="learned",
    )
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
    predictions = [
        {
            f"column {c}": routes.classify(
                net.column(c).apply, jf.Point(variables), split, images, num_samples=1
            )
            for c in net.columns
        }
        for images, _ in (split.train, split.validation, split.test)
    ]
    train, validation, test = (
        {name: float(metrics.nll(p.log_probs, labels)) for name, p in answers.items()}
        for answers, (_, labels) in zip(predictions, (split.train, split.validation, split.test))
    )
    learned: jf.Routes = variables["params"]["routes"]
    # Given the weights, log p(c | D) = −N · NLL of column c, but for a constant.
    exact = jf.Routes(-len(split.train[1]) * jnp.array([*train.values()]))
    shown = learned if fields["routes"] == "learned" else exact
    rows = Rows()
    for name, probability in zip(train, shown.probs):
        rows.add({"probability": probability}, **fields, answer=name)
    best = min(validation, key=lambda name: validation[name])
    choices = {
        "kl": shown.kl(),
        "most_probable": [*train][int(np.argmax(shown.probs))],
        "best_validation": best,
        "best_test": min(test, key=lambda name: test[name]),
    }
    rows.add(choices, **fields)
    answers = predictions[-1]
    answers["mixture"] = jf.mixture([*answers.values()], learned.log_probs)
    answers["best column"] = answers[best]
    for name, prediction in answers.items():
        scores = routes.scores(prediction, split.test[1])
        rows.add({name: scores[name] for name in ("nll", "accuracy")}, **fields, answer=name)
    return rows


def selection_section(rows: Rows, *, text: str) -> Section:
    """Which column the distribution prefers, and which one the held-out images."""
    probabilities = rows.where(metric="probability")
    names = {
        "kl": "KL to the prior (nats)",
        "most_probable": "most probable",
        "best_validation": "best on validation",
        "best_test": "best on test",
    }
    return Section(
        "Which depth the net selects",
        f"{text}\n\nlearned: the distribution that was trained with the weights. uniform: the "
        "exact posterior over columns given weights that were trained with all columns alike, from "
        "the likelihoods of the training images. Beside the most probable column stands the one of "
        "the lowest NLL in the same net, on validation and on test images.",
        report.table(rows, names, by=("size", "routes"), digits=3),
        [
            report.curves(
                probabilities.where(routes=kind),
                "size",
                "probability",
                by="answer",
                xlabel="training images",
                ylabel="probability",
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
    return report.curves(
        rows,
        "step",
        "probability",
        by="route",
        xlabel="step",
        ylabel="probability",
        caption=f"{size} training images.",
    )
