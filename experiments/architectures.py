"""Fractal, residual, dense and plain nets of equal size, trained alike.

Four architectures differ only in the expression of their blocks: FractalNet (Larsson et al., ICLR
2017), ResNet (He et al., CVPR 2016), DenseNet (Huang et al., CVPR 2017) and a plain net. They have
equal numbers of parameters (widths are scaled until they agree), data, steps and optimiser, and no
drop-path, which only the fractal net could use. The report shows accuracy, NLL, ECE, training
speed, and the gradient of each unit by its depth, before and after training.

Laptop: 10,000 training images, 8 epochs, one seed, all 10,000 test images of a JPEG copy of
CIFAR-10; 50 minutes of processor time (58 minutes on one core with other work beside it).

                    fractal   residual      dense      plain
    parameters    2,113,594  2,093,054  2,101,312  2,098,322
    MFLOPs            107.6      113.2       76.5      114.7
    accuracy           .706       .679       .697       .669
    NLL (nats)         .835       .919       .868       .934
    ECE                .036       .032       .026       .037

At 20 layers and after so few steps, joining paths of many lengths helps. The fractal net is the
best, and the plain net, which still trains at this depth, is the worst; the standard error of an
accuracy is 0.5 points. The fractal net's gradients are the smallest before training and as large as
those of the others after it. Its steps are the slowest (77 images a second against 134 of the plain
net, with other work on the machine), because its units are many and small.

    make experiment NAME=architectures
    make experiment NAME=architectures ARGS="--preset paper"    # 400 epochs; needs a GPU or TPU
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import jax
import jax.numpy as jnp

import jfractal as jf
from experiments import _nets as nets
from experiments import _routes as routes
from experiments import report
from experiments._images import DataConfig, Split
from experiments._nets import ModelConfig, TrainConfig
from experiments.report import Outcome, Picture, Section
from experiments.rows import Rows
from experiments.run import Run
from jfractal import topology, viz
from jfractal.nn import BlockNet
from jfractal.typing import Variables

OTHERS = {"residual": jf.ResNet, "dense": jf.DenseNet, "plain": jf.PlainNet}


@dataclass(frozen=True)
class Config(nets.Config):
    """Settings of `architectures`; the model is that of the fractal net, whose size all have."""


LAPTOP = Config(
    data=DataConfig(num_train=12_000, num_validation=2000),
    model=ModelConfig(kernel_init="he"),
    train=TrainConfig(
        num_epochs=8, batch_size=32, learning_rate=0.02, local_rate=0.0, global_rate=0.0
    ),
)
PRESETS = {
    "laptop": LAPTOP,
    "paper": replace(
        LAPTOP,
        preset="paper",
        data=nets.PAPER.data,
        model=replace(LAPTOP.model, widths=nets.PAPER.model.widths),
        train=replace(nets.PAPER.train, local_rate=0.0, global_rate=0.0),
    ),
    "quick": replace(
        LAPTOP,
        quick=True,
        data=nets.QUICK.data,
        model=nets.QUICK.model,
        train=replace(LAPTOP.train, num_epochs=2, batch_size=50, log_every=1),
    ),
}


def run(config: Config, run: Run) -> Outcome:
    """Trains and tests all four."""
    split = Split.load(config.data, config.seed)
    shape, size = split.train[0].shape[1:], len(split.train[0])
    rows, gradients = Rows(), Rows()
    each = architectures(config.model, len(split.source.class_names), shape)
    for name, net in each.items():
        method = nets.deterministic(config, net, size)
        first = split.standardise(split.train[0][:1])
        start = jax.jit(net.init)(jax.random.key(config.seed), first)
        began = perf_counter()
        trained = nets.train(config, run, method, net, split, name=name)
        speed = config.train.num_epochs * size / (perf_counter() - began)
        whole = routes.classify(net.apply, trained, split, split.test[0], num_samples=1)
        rows.rows += routes.by_route(net, split, {"whole net": whole}, net=name).rows
        rows.add({"num_params": net.num_params(shape), "images_per_second": speed}, net=name)
        for when, variables in {"before": start, "after": trained.variables}.items():
            for depth, norm in gradient_by_depth(method.model, net, variables, split):
                gradients.add({"norm": norm}, net=name, when=when, depth=depth)
    return Outcome(
        split.source.name,
        split.source.requested,
        rows,
        [
            scores_section(rows, text=split.source.note),
            gradients_section(gradients),
            Section(
                "Structure",
                pictures=[
                    Picture(viz.structure(net.blocks[0]), f"{name}: one block.")
                    for name, net in each.items()
                ],
            ),
        ],
    )


def architectures(
    config: ModelConfig, num_classes: int, shape: tuple[int, ...]
) -> dict[str, BlockNet]:
    """The fractal net, and others as deep, scaled to its number of parameters."""
    fractal = nets.fractal_net(config, num_classes)
    size = fractal.num_params(shape)

    def scaled(make: Callable[..., BlockNet]) -> BlockNet:
        """The largest net of at most that size whose widths are a multiple of the fractal's."""

        def net(factor: float) -> BlockNet:
            return make(
                num_classes,
                depth=2 ** (config.columns - 1),
                widths=[max(round(factor * width), 1) for width in config.widths],
                norm=config.norm,
                dropout=config.dropout,
                kernel_init=config.kernel_init,
            )

        low, high = 0.05, 8.0
        for _ in range(40):
            factor = (low + high) / 2
            low, high = (low, factor) if net(factor).num_params(shape) > size else (factor, high)
        return net(low)

    return {"fractal": fractal, **{name: scaled(make) for name, make in OTHERS.items()}}


def gradient_by_depth(
    model: jf.Model, net: BlockNet, variables: Variables, split: Split
) -> list[tuple[int, float]]:
    """Depths of units in the net, and norms of the gradients of their kernels on one batch."""
    batch = split.standardise(split.train[0][:500]), jnp.asarray(split.train[1][:500])

    def nll(params):
        run = model.training_pass({**variables, "params": params}, batch, jax.random.key(0))
        return -run.log_likelihood.mean()

    slope = jax.jit(jax.grad(nll))(variables["params"])
    points, first = [], 0
    for i, expr in enumerate(net.blocks, start=1):
        for unit, depth in topology.unit_depths(expr).items():
            kernel = slope[f"block{i}"][unit]["conv"]["kernel"]
            points.append((first + depth, float(jnp.linalg.norm(kernel.ravel()))))
        first += topology.depth(expr)
    return points


def scores_section(rows: Rows, *, text: str) -> Section:
    """One row for each architecture."""
    names = {
        **routes.METRICS,
        "num_params": "parameters",
        "images_per_second": "training images a second",
    }
    return Section(
        "Equal parameters, equal steps",
        f"{text}\n\nImages a second: of the whole training, with compilation and the validation "
        "after each epoch.",
        report.table(rows, names, by=("net",)),
    )


def gradients_section(rows: Rows) -> Section:
    """Norms of gradients by depth."""
    axes = {"xlabel": "depth of the unit", "ylabel": "norm of the gradient (nats)"}
    return Section(
        "Gradients by depth",
        "Mean over the units that stand at one depth, counted along the longest path from the "
        "input, and its standard error; cross-entropy of 500 training images.",
        pictures=[
            report.curves(
                rows.where(when=when),
                "depth",
                "norm",
                by="net",
                **axes,
                logy=True,
                caption=f"Norm of the gradient of the kernels at each depth, {when} training.",
            )
            for when in ("before", "after")
        ],
    )
