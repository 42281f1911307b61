"""What the classifying experiments share: settings, data, training, and what is reported."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jfractal.training.objective import Objective

import jfractal as jf
from experiments._source import SourceConfig
from experiments.report import Section, Table
from experiments.run import Options, Run
from jfractal import metrics, topology, viz
from jfractal.data import ImageData
from jfractal.nn import BlockNet
from jfractal.nn.block_net import Columns
from jfractal.posterior.gaussian import Estimator
from jfractal.training import (
    Checkpoints,
    DropPath,
    Trainer,
    TrainState,
    count_steps,
    cross_entropy,
    every_route,
    negative_elbo,
    partitioned,
    recalibrate,
)
from jfractal.typing import Variables

BATCH = 500  # examples in a pass of an evaluation
CALIBRATION = 250  # examples in a batch that batch statistics are measured on


@dataclass(frozen=True)
class ImagesConfig(SourceConfig):
    """Which images, and how many."""

    name: str = "cifar10"
    """Data set: cifar10, mnist, fashion_mnist or digits."""
    num_train: int | None = None
    """Training images to keep, validation images among them; all if None."""
    num_test: int | None = None
    """Test images to keep; all if None."""
    num_validation: int = 2500
    """Training images held out: every choice is made on them, none on the test set."""


@dataclass(frozen=True)
class DataConfig(ImagesConfig):
    """Images, and how they are augmented."""

    flip: bool = True
    """Whether to mirror half of the training images (never done to digits)."""
    shift: int = 4
    """Shift training images by up to this many pixels each way."""


@dataclass(frozen=True)
class ModelConfig:
    """The fractal net."""

    columns: int = 3
    """Columns C of every block; the longest path of a block has 2^(C-1) convolutions."""
    widths: tuple[int, ...] = (16, 32, 64, 128, 128)
    """Channels of each block."""
    norm: Literal["batch", "batch_shared", "frn", "group", "layer", "none"] = "batch"
    """Normalisation in the units."""
    dropout: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
    """Dropout rate of each block."""
    drop_path_per: Literal["batch", "example"] = "batch"
    """Local drop-path: one draw for the whole batch (the paper's) or one for each example, which
    is the same average over sub-networks with less noise in the gradient of a large batch."""
    kernel_init: Literal["he", "aligned"] = "aligned"
    """he: every kernel at random; aligned: all columns start as nearly the same function, so that
    a short run does not spend itself on making them agree."""


@dataclass(frozen=True)
class PosteriorConfig:
    """The mean-field posterior of a Bayesian net."""

    estimator: Estimator = "reparam"
    """How weights are drawn in training."""
    scale: float = 0.02
    """Initial standard deviation of every weight."""
    prior_scale: float = 0.1
    """Standard deviation of the Gaussian prior."""
    kl_weight: float = 0.003
    """Factor of the KL, the temperature of the posterior: 1 is Bayes, below 1 is colder."""
    num_samples: int = 16
    """Draws of the weights for a prediction."""


@dataclass(frozen=True)
class TrainConfig:
    """Stochastic optimisation with drop-path."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    """sgd: with Nesterov momentum; adam: for weights of very different gradients."""
    num_epochs: int = 8
    """Passes over the training examples."""
    batch_size: int = 32
    """Examples in a batch."""
    learning_rate: float = 0.02
    """Highest learning rate."""
    schedule: Literal["one_cycle", "halving"] = "one_cycle"
    """one_cycle: linearly up for a fifth of the steps, then linearly to 0; halving: a tenth
    whenever the remaining epochs halve (the paper's)."""
    momentum: float = 0.9
    """Nesterov momentum of sgd."""
    weight_decay: float = 5e-4
    """L2 penalty of the kernels, added to the gradient."""
    local_rate: float = 0.15
    """Drop-path: probability of dropping a join input in a local batch."""
    routes: Literal["sampled", "two_pass", "partitioned"] = "sampled"
    """How columns are trained: sampled: some batches run one random column alone (the paper's
    text); two_pass: every batch runs the joined net and all columns (the authors' code; twice the
    cost); partitioned: half of each batch runs joined, the rest is shared out among the columns."""
    global_rate: float = 0.5
    """Drop-path: share of batches that run through one random column alone, if sampled."""
    num_devices: int = 1
    """Devices that share each batch; each normalises by its own part of it."""
    log_every: int = 20
    """Steps between two rows of metrics."""


@dataclass(frozen=True)
class NetConfig(Options):
    """Settings that every experiment with a fractal classifier has."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The net."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """The optimisation."""


@dataclass(frozen=True)
class Config(NetConfig):
    """Settings that every image experiment has."""

    data: DataConfig = field(default_factory=DataConfig)
    """The images."""


# The published training of the 20-layer net.
PAPER_DATA = DataConfig(num_validation=5000)
PAPER_MODEL = ModelConfig(
    widths=(64, 128, 256, 512, 512), dropout=(0.0, 0.1, 0.2, 0.3, 0.4), kernel_init="he"
)
PAPER_TRAIN = TrainConfig(
    num_epochs=400, batch_size=100, learning_rate=0.02, schedule="halving", weight_decay=1e-4
)

# As small as a run can be that still takes every turn.
QUICK_DATA = DataConfig(num_train=250, num_test=100, num_validation=50)
QUICK_MODEL = ModelConfig(columns=2, widths=(4,), dropout=(0.0,))


# Data


@dataclass(frozen=True, eq=False)
class Examples:
    """Training, validation and test examples with their labels."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    def standardise(self, examples: Any) -> jax.Array:
        """Examples as the net reads them: here as they are."""
        return jnp.asarray(examples)


@dataclass(frozen=True, eq=False)
class Split(Examples):
    """Training, validation and test images, raw, and the moments that standardise them."""

    source: ImageData
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, source: ImageData, num_validation: int, seed: int) -> "Split":
        """Holds validation images out of the training images, at most a fifth of them."""
        num_validation = min(num_validation, len(source.train_labels) // 5)
        images, labels = source.train_images, source.train_labels
        train, held_out = jf.data.split_validation(labels, num_validation=num_validation, seed=seed)
        mean, std = jf.data.channel_moments(images[train])
        return cls(
            (images[train], labels[train]),
            (images[held_out], labels[held_out]),
            (source.test_images, source.test_labels),
            source,
            mean,
            std,
        )

    def standardise(self, examples: Any) -> jax.Array:
        """Float images of mean 0 and standard deviation 1 over the training images."""
        return jf.data.standardise(examples, self.mean, self.std)


def load(config: ImagesConfig, seed: int) -> ImageData:
    """The images that the settings ask for, or what stands in for them."""
    source = jf.data.load_images(config.name, strict=config.strict)
    if config.num_train is None and config.num_test is None:
        return source
    num_train = min(config.num_train or len(source.train_images), len(source.train_images))
    num_test = min(config.num_test or len(source.test_images), len(source.test_images))
    return jf.data.subset(source, num_train=num_train, num_test=num_test, seed=seed)


def preparation(split: Split, config: DataConfig) -> Callable[[jax.Array, Any], jax.Array]:
    """Augments and standardises a batch of training images, on device."""
    flip = config.flip and "digits" not in split.source.name

    def prepare(key: jax.Array, images: Any) -> jax.Array:
        key_flip, key_shift = jax.random.split(key)
        images = split.standardise(images)
        images = jf.data.random_flip(key_flip, images) if flip else images
        return jf.data.random_shift(key_shift, images, pixels=config.shift)

    return prepare


# Nets and objectives


def fractal_net(config: ModelConfig, num_classes: int) -> BlockNet:
    """The deterministic net."""
    return jf.FractalNet(num_classes, **asdict(config))


def bayes_fractal_net(
    config: ModelConfig, posterior: PosteriorConfig, num_classes: int
) -> BlockNet:
    """The same net with a Gaussian for every weight of its convolutions and its dense layer."""
    conv = partial(jf.BayesConv, scale=posterior.scale, estimator=posterior.estimator)
    return jf.FractalNet(num_classes, conv=conv, **asdict(config))


def likelihood_objective(config: Config, net: nn.Module, split: Split) -> Objective:
    """Cross-entropy, for the deterministic net."""
    prepare = preparation(split, config.data)
    return routed(config, cross_entropy(net, prepare, drop_path=config.train.local_rate))


def elbo_objective(
    config: Config, posterior: PosteriorConfig, net: nn.Module, split: Split
) -> Objective:
    """The negative evidence lower bound, for the Bayesian net."""
    objective = negative_elbo(
        net,
        preparation(split, config.data),
        drop_path=config.train.local_rate,
        prior=jf.priors.Gaussian(posterior.prior_scale),
        num_data=len(split.train[0]),
        kl_weight=posterior.kl_weight,
    )
    return routed(config, objective)


def routed(config: NetConfig, objective: Objective) -> Objective:
    """The objective along the routes that a batch takes."""
    match config.train.routes:
        case "sampled":
            return objective
        case "two_pass":
            return every_route(objective, columns=config.model.columns)
        case "partitioned":
            return partitioned(objective, columns=config.model.columns)


# Training


def optimizer(config: TrainConfig, num_images: int) -> optax.GradientTransformation:
    """The optimiser with its schedule; weight decay on the kernels only."""
    if not config.learning_rate > 0:
        raise jf.InputError(f"`learning_rate` must be above 0, got {config.learning_rate}")
    steps = config.num_epochs * count_steps(num_images, config.batch_size)
    if config.schedule == "one_cycle":
        rise = max(steps // 5, 1)
        up = optax.linear_schedule(config.learning_rate / 10, config.learning_rate, rise)
        down = optax.linear_schedule(config.learning_rate, 0.0, max(steps - rise, 1))
        schedule = optax.join_schedules([up, down], [rise])
    else:
        drops = {int(steps * (1 - 0.5**k)): 0.1 for k in (1, 2, 3, 4)}
        schedule = optax.piecewise_constant_schedule(config.learning_rate, drops)
    descent = {
        "sgd": optax.sgd(schedule, config.momentum, nesterov=True),
        "adam": optax.adam(schedule),
    }
    decay = optax.add_decayed_weights(config.weight_decay, mask=_kernels)
    return optax.chain(decay, descent[config.optimizer])


def drop_path(config: NetConfig) -> DropPath:
    """The draw of a route for each batch; where a batch takes every route, none is drawn."""
    rate = config.train.global_rate if config.train.routes == "sampled" else 0.0
    return DropPath(config.model.columns, global_rate=rate)


def _kernels(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def train(
    config: NetConfig,
    run: Run,
    net: nn.Module,
    split: Examples,
    objective: Objective,
    *,
    name: str = "net",
) -> TrainState:
    """Trains a net, or continues where its last checkpoint left off.

    Logs the loss of each route as it is drawn and, after each epoch, validation figures of the
    net (its means, if it is Bayesian) and of every column.
    """
    settings = config.train
    tx = optimizer(settings, len(split.train[0]))
    checkpoints = Checkpoints(run.checkpoints / name)
    example = split.standardise(split.train[0][:1])
    variables = jax.jit(net.init)(jax.random.key(config.seed), example)
    state = TrainState.create(variables, tx)
    if run.resume:
        state = checkpoints.restore(state) or state
        run.rewind(int(state.step), net=name)
    trainer = Trainer(
        objective=objective,
        optimizer=tx,
        drop_path=drop_path(config),
        num_epochs=settings.num_epochs,
        batch_size=settings.batch_size,
        seed=config.seed,
        log_every=settings.log_every,
        checkpoints=checkpoints,
        num_devices=settings.num_devices,
    )
    routes = routes_of(net)
    examples, labels = split.validation

    def evaluate(state: TrainState) -> dict[str, float]:
        point = jf.Point({**state.model, "params": jf.mean(state.params)})
        row = {}
        for route, apply in routes.items():
            prediction = classify(apply, point, split, examples, num_samples=1)
            row[f"accuracy/{route}"] = float(metrics.accuracy(prediction.probs, labels))
            row[f"nll/{route}"] = float(metrics.nll(prediction.log_probs, labels))
        return row

    return trainer.fit(
        state,
        *split.train,
        log=lambda row: run.log({"net": name, **row}),
        evaluate=evaluate,
    )


def recalibrated(
    net: nn.Module,
    variables: Variables,
    split: Examples,
    *,
    routes: Sequence[Columns],
    num_batches: int = 40,
) -> Variables:
    """Batch statistics of these routes measured anew, with nothing dropped; others stay.

    Running averages of the joined net come from batches that had paths dropped, and fit a net
    without dropping badly unless its columns are much alike.
    """
    if "batch_stats" not in variables:
        return variables
    examples = split.train[0]
    size = min(CALIBRATION, len(examples))
    starts = range(0, len(examples) - size + 1, size)[:num_batches]
    batches = (split.standardise(examples[start : start + size]) for start in starts)
    return recalibrate(net.apply, variables, batches, routes=routes)


# Evaluation


def test(
    net: nn.Module, posterior: Any, split: Examples, *, num_samples: int = 1
) -> dict[str, jf.Prediction]:
    """Predictions for the test examples, of the whole net and of every column alone."""
    return {
        route: classify(apply, posterior, split, split.test[0], num_samples=num_samples)
        for route, apply in routes_of(net).items()
    }


def flat(by_route: Mapping[str, Mapping[str, float]], prefix: str = "") -> dict[str, float]:
    """Figures by route as entries of result.json, e.g. ``accuracy_column_1``."""
    return {
        f"{prefix}{metric}_{route.replace(' ', '_')}": value
        for route, figures in by_route.items()
        for metric, value in figures.items()
    }


def routes_of(net: nn.Module) -> dict[str, Callable[..., Any]]:
    """``apply`` of the whole net and of every column alone, by name."""
    alone = {f"column {c}": net.column(c).apply for c in net.columns}
    return {"whole net": net.apply, **alone}


def classify(
    apply: Callable[..., Any],
    posterior: Any,
    split: Examples,
    examples: np.ndarray,
    *,
    num_samples: int,
    seed: int = 0,
) -> jf.Prediction:
    """The posterior predictive for raw examples."""
    return jf.predict(
        apply,
        posterior,
        split.standardise(examples),
        jax.random.key(seed),
        num_samples=num_samples,
        batch_size=BATCH,
    )


def scores(prediction: jf.Prediction, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, negative log likelihood (nats per example) and expected calibration error."""
    return {
        "accuracy": float(metrics.accuracy(prediction.probs, labels)),
        "nll": float(metrics.nll(prediction.log_probs, labels)),
        "ece": float(metrics.ece(prediction.probs, labels)),
    }


# Report


def cost_of(net: Any, split: Examples, route: str) -> tuple[int, float]:
    """Convolutions on the longest path, and millions of floating-point operations per example."""
    column = int(route.split()[-1]) if route.startswith("column") else None
    flops = net.num_flops(split.train[0].shape[1:], column=column)
    return net.depth(column=column), flops / 1e6


def columns_section(
    net: Any, split: Examples, by_route: Mapping[str, Mapping[str, float]], *, text: str = ""
) -> Section:
    """A table of the whole net and every column: depth, cost, accuracy, NLL, ECE."""
    rows = []
    for route, figures in by_route.items():
        depth, mflops = cost_of(net, split, route)
        rows.append([route, depth, round(mflops, 1), *(round(v, 4) for v in figures.values())])
    names = [
        "network",
        "convolutions in line",
        "MFLOPs per example",
        "accuracy",
        "NLL (nats)",
        "ECE",
    ]
    return Section("Any depth: the whole net and every column alone", text, Table(names, rows))


def curves_section(run: Run, name: str = "net") -> Section:
    """Training loss of every route as it was drawn, and validation accuracy after each epoch."""
    rows = [row for row in run.rows() if row["net"] == name]
    steps = [row for row in rows if "column" in row]
    epochs = [row for row in rows if "column" not in row]
    losses = {}
    for column in sorted({row["column"] for row in steps}):
        label = "whole net" if column == 0 else f"column {column}"
        of_column = [row for row in steps if row["column"] == column]
        losses[label] = ([r["epoch"] for r in of_column], smooth([r["loss"] for r in of_column]))
    accuracies = {
        key.removeprefix("accuracy/"): ([r["epoch"] for r in epochs], [r[key] for r in epochs])
        for key in epochs[-1]
        if key.startswith("accuracy/")
    }
    loss = viz.curves(losses, xlabel="epoch", ylabel="training loss (nats per example)")
    accuracy = viz.curves(accuracies, xlabel="epoch", ylabel="validation accuracy")
    return Section(
        "Training" if name == "net" else f"Training, {name.replace('_', ' ')}",
        "The loss of a batch is that of the route it took: the joined net (local drop-path) or one "
        "column alone (global drop-path); of batches that take every route, that of the joined "
        "net. It is smoothed over neighbouring rows.",
        figures=[
            (run.figure(f"{name}_loss", loss), "Training loss by route."),
            (run.figure(f"{name}_accuracy", accuracy), "Validation accuracy after each epoch."),
        ],
    )


def smooth(values: Sequence[float]) -> list[float]:
    """Running mean over a tenth of the series: single batches are noisy."""
    width = max(len(values) // 10, 1)
    return [float(np.mean(values[max(i - width + 1, 0) : i + 1])) for i in range(len(values))]


def reliability_section(
    run: Run, predictions: Mapping[str, jf.Prediction], labels: np.ndarray
) -> Section:
    """A reliability diagram for each prediction."""
    bins = {
        name: metrics.reliability(prediction.probs, labels)
        for name, prediction in predictions.items()
    }
    return Section(
        "Calibration",
        "A calibrated classifier lies on the diagonal: of what it is 80 % sure of, it gets "
        "80 % right.",
        figures=[
            (
                run.figure("reliability", viz.reliability_diagram(bins)),
                "Accuracy against confidence on the test set, 15 bins of equal width.",
            )
        ],
    )


def structure_section(run: Run, net: Any) -> Section:
    """A picture of the block, and what its expression says about it."""
    block, blocks = net.blocks[0], len(net.blocks)
    return Section(
        "Structure",
        f"{blocks} blocks of this structure, widths {', '.join(map(str, net.widths))}, each "
        f"followed by a max-pool by 2. A block has {len(topology.units(block))} units and "
        f"{topology.num_paths(block)} paths of {min(topology.path_lengths(block))} to "
        f"{topology.depth(block)} units; the net has {topology.num_paths(block) ** blocks} paths.",
        figures=[(run.figure("structure", viz.structure(block)), "One block.")],
    )
