"""Does a net select its own depth? A distribution over its columns, trained with the weights.

The columns of a fractal net are nets of different depth in one, and drop-path trains them all
alike. Here which column answers is a random variable with a posterior π, trained with the weights
on ``Σ_c π_c L_c + KL(π ‖ uniform) / N`` (depth uncertainty: Antorán, Allingham & Hernández-Lobato,
NeurIPS 2020): does π find the depth that suits the number N of training images? Beside it, the same
net with π fixed at its prior (drop-path in expectation), and the best of its columns.

    make experiment NAME=learned_depth
    make experiment NAME=learned_depth ARGS="--warm-up 0"        # π learns from the first step on
    make experiment NAME=learned_depth ARGS="--preset paper"     # CIFAR-10; needs a GPU or TPU

Some 200 s of CPU time. Digits, columns of 3, 6 and 12
convolutions, 360 test images; seeds 0, 1, 2:

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

So it selects a depth, the more firmly the more images there are, and with 300 and more the one that
test images prefer too, five times out of six. But it selects by the training likelihood, which of
weights that are points charges nothing for overfitting: 100 images are fitted by columns 2 and 3
alike, and about half of π lies on column 3, by far the worst on test images. Selecting has a price
besides: mixing all columns alike is more accurate at every size, and better in NLL with 100 images,
if not with 1287. And it hangs on the optimisation: if π learns from the first step on, it closes on
one column within 75 steps (at .97 and more) and leaves the others untrained: on column 2 with seed
0, on column 3 with seed 1, whether of 100 images or of 1287.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import jfractal as jf
from experiments import _classification as classification
from experiments._classification import DataConfig, ModelConfig, Split, TrainConfig
from experiments.report import Outcome, Section, Table
from experiments.run import Run
from jfractal import metrics, viz
from jfractal.training import (
    Checkpoints,
    DropPath,
    Trainer,
    TrainState,
    count_steps,
    learned_routes,
)
from jfractal.viz.style import colours, styled


@dataclass(frozen=True)
class Config(classification.Config):
    """Settings of `learned_depth`; every step runs every column, whatever the drop-path rates."""

    sizes: tuple[int, ...] = (100, 300, 1287)
    """Numbers of training images. Every training takes the same number of steps: those of
    `train.num_epochs` over all images there are, few images being repeated."""
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
    "paper": Config(
        preset="paper",
        sizes=(1000, 5000, 45_000),
        data=classification.PAPER_DATA,
        model=classification.PAPER_MODEL,
        train=classification.PAPER_TRAIN,
    ),
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
    source = classification.load(config.data, config.seed)
    split = Split.of(source, config.data.num_validation, config.seed)
    net = classification.fractal_net(config.model, len(source.class_names))
    image = split.standardise(split.train[0][:1])
    start = jax.jit(net.init)(jax.random.key(config.seed), image)
    columns = {c: net.column(c).apply for c in net.columns}

    found: dict[tuple[int, str], dict[str, float]] = {}
    for size in config.sizes:
        part = subset(split, size, config.seed)
        for kind, rate in (("learned", config.routes_learning_rate), ("uniform", 0.0)):
            settings = replace(config, routes_learning_rate=rate)
            state = train(settings, run, net, start, part, size, name=f"{kind}_{size}")
            found[size, kind] = examine(columns, state, part, size)

    return Outcome(
        {
            "dataset": source.name,
            "dataset_requested": source.requested,
            **{
                f"{kind}_{size}_{name}": value
                for (size, kind), figures in found.items()
                for name, value in figures.items()
            },
        },
        [
            selection_section(run, found, net.columns, text=source.note),
            scores_section(found, net.columns),
            paths_section(run, config.sizes, net.columns),
            classification.structure_section(run, net),
        ],
    )


def subset(split: Split, size: int, seed: int) -> Split:
    """Trains on `size` images, repeated in turn until an epoch is as long as it was."""
    images, labels = split.train
    if not 1 <= size <= len(labels):
        raise jf.InputError(
            f"`sizes` must be between 1 and {len(labels)}, the training images there are, "
            f"got {size}"
        )
    chosen = np.arange(len(labels))
    if size < len(labels):
        _, chosen = jf.data.split_validation(labels, num_validation=size, seed=seed)
    repeated = np.resize(chosen, len(labels))
    return replace(split, train=(images[repeated], labels[repeated]))


def optimizer(config: Config, num_images: int) -> optax.GradientTransformation:
    """Adam for the distribution, from the end of the warm-up on; the usual for the weights."""
    if not 0 <= config.warm_up <= 1:
        raise jf.InputError(f"`warm_up` must be in [0, 1], got {config.warm_up}")
    steps = config.train.num_epochs * count_steps(num_images, config.train.batch_size)
    start = round(config.warm_up * steps)
    wait, learn = (optax.constant_schedule(r) for r in (0.0, config.routes_learning_rate))
    return optax.multi_transform(
        {
            "weights": classification.optimizer(config.train, num_images),
            "routes": optax.adam(optax.join_schedules([wait, learn], [start])),
        },
        lambda params: {k: "routes" if k == "routes" else "weights" for k in params},
    )


def train(
    config: Config, run: Run, net: Any, start: Any, split: Split, size: int, *, name: str
) -> TrainState:
    """Trains a net and its distribution over columns, or continues at its last checkpoint."""
    tx = optimizer(config, len(split.train[0]))
    variables = jax.tree.map(jnp.copy, start)  # training takes them over
    params = {**variables["params"], "routes": jf.Routes.uniform(len(net.columns))}
    state = TrainState.create({**variables, "params": params}, tx)
    checkpoints = Checkpoints(run.checkpoints / name)
    if run.resume:
        state = checkpoints.restore(state) or state
        run.rewind(int(state.step), net=name)
    objective = classification.likelihood_objective(config, net, split)
    trainer = Trainer(
        objective=learned_routes(objective, routes=net.columns, num_data=size),
        optimizer=tx,
        drop_path=DropPath(len(net.columns), global_rate=0.0),
        num_epochs=config.train.num_epochs,
        batch_size=config.train.batch_size,
        seed=config.seed,
        log_every=config.train.log_every,
        checkpoints=checkpoints,
        num_devices=config.train.num_devices,
    )
    return trainer.fit(state, *split.train, log=lambda row: run.log({"net": name, **row}))


def examine(
    columns: Mapping[int, Any], state: TrainState, split: Split, size: int
) -> dict[str, float]:
    """The distribution over columns and the exact posterior, and how well each column predicts."""
    parts = tuple(x[:size] for x in split.train), split.validation, split.test
    images, labels = (np.concatenate(x) for x in zip(*parts))
    ends = np.cumsum([len(part[1]) for part in parts])
    train, validation, test = (slice(end - len(p[1]), end) for end, p in zip(ends, parts))
    routes: jf.Routes = state.params["routes"]
    prior = jf.Routes.uniform(len(columns))
    predictions = {
        c: classification.classify(apply, jf.Point(state.model), split, images, num_samples=1)
        for c, apply in columns.items()
    }

    def nll(part: slice) -> list[float]:
        return [float(metrics.nll(p.log_probs[part], labels[part])) for p in predictions.values()]

    held_out = nll(validation)
    exact = jf.Routes(prior.log_probs - size * jnp.array(nll(train)))
    best = [*columns][int(np.argmin(held_out))]
    answers = {f"column_{c}": prediction for c, prediction in predictions.items()}
    answers |= {"mixture": jf.mixture([*predictions.values()], routes.log_probs)}
    answers |= {"best_column": predictions[best]}
    figures = {"kl": float(routes.kl(prior)), "exact_kl": float(exact.kl(prior)), "best": best}
    for c, probability, posterior in zip(columns, routes.probs, exact.probs):
        figures[f"probability_column_{c}"] = float(probability)
        figures[f"exact_column_{c}"] = float(posterior)
    for name, answer in answers.items():
        figures[f"nll_{name}"] = float(metrics.nll(answer.log_probs[test], labels[test]))
        figures[f"accuracy_{name}"] = float(metrics.accuracy(answer.probs[test], labels[test]))
    return figures


# Report

Found = Mapping[tuple[int, str], Mapping[str, float]]
"""Figures of each net, by the number of training images and ``learned`` or ``uniform``."""


def selection_section(run: Run, found: Found, columns: Sequence[int], *, text: str) -> Section:
    """Which column the distribution prefers, and which one the held-out images."""
    rows = []
    for (size, kind), figures in found.items():
        learned = kind == "learned"
        probs = [figures[f"{'probability' if learned else 'exact'}_column_{c}"] for c in columns]
        test = [figures[f"nll_column_{c}"] for c in columns]
        preferred = columns[int(np.argmax(probs))], figures["best"], columns[int(np.argmin(test))]
        kl = figures["kl" if learned else "exact_kl"]
        name = "learned" if learned else "exact"
        rows.append([size, name, *(round(p, 3) for p in probs), round(kl, 3), *preferred])
    names = [f"column {c}" for c in columns]
    others = ["KL to the prior (nats)", "most probable", "best on validation", "best on test"]
    return Section(
        "Which depth the net selects",
        f"{text}\n\nlearned: the distribution that was trained with the weights. exact: the "
        "posterior over columns given weights that were trained with all columns alike, from the "
        "likelihoods of the training images. Beside the most probable column, the one of the "
        "lowest NLL in the same net, on validation and on test images.",
        Table(["training images", "distribution", *names, *others], rows),
        figures=[
            (
                run.figure("depth", stacked_bars(rows, names)),
                "Probability of each column, by the number of training images.",
            )
        ],
    )


@styled
def stacked_bars(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> Figure:
    """A bar for each row of the table, in which every column has its share."""
    figure = Figure(figsize=(4.8, 2.8), layout="constrained")
    axes = figure.add_subplot(xlabel="training images", ylabel="probability")
    labels = [f"{row[0]}\n{row[1]}" for row in rows]
    bottom = np.zeros(len(rows))
    for (name, colour), heights in zip(colours(names).items(), zip(*(row[2:] for row in rows))):
        axes.bar(labels, heights, 0.7, bottom, color=colour, label=name)
        bottom += heights
    figure.legend(loc="outside upper center", ncols=len(names))
    return figure


def scores_section(found: Found, columns: Sequence[int]) -> Section:
    """Test scores of every column, of the mixture and of the column chosen on validation."""
    shown = {f"NLL, column {c}": f"nll_column_{c}" for c in columns}
    for name in ("mixture", "best column"):
        shown[f"NLL, {name}"] = f"nll_{name.replace(' ', '_')}"
        shown[f"accuracy, {name}"] = f"accuracy_{name.replace(' ', '_')}"
    return Section(
        "How well it predicts",
        "On the test images, NLL in nats per image. learned: trained and mixed by the learned "
        "distribution. uniform: all columns alike, the drop-path prior. The best column is the "
        "one of the lowest NLL on validation images.",
        Table(
            ["training images", "distribution", *shown],
            [
                [*of, *(round(figures[name], 4) for name in shown.values())]
                for of, figures in found.items()
            ],
        ),
    )


def paths_section(run: Run, sizes: Sequence[int], columns: Sequence[int]) -> Section:
    """The distribution over columns in the course of each training."""
    pictures = []
    for size in sizes:
        rows = [r for r in run.rows() if r["net"] == f"learned_{size}" and "loss" in r]
        epochs = [row["epoch"] for row in rows]
        series = {
            f"column {c}": (epochs, [row[f"probability/{c}"] for row in rows]) for c in columns
        }
        figure = viz.curves(series, xlabel="epoch", ylabel="probability")
        pictures.append((run.figure(f"path_{size}", figure), f"{size} training images."))
    return Section("The distribution in the course of training", figures=pictures)
