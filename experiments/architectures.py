"""Fractal, residual, dense and plain nets of equal size, trained alike.

Four architectures differ only in the expression of their blocks: FractalNet (Larsson et al., ICLR
2017), ResNet (He et al., CVPR 2016), DenseNet (Huang et al., CVPR 2017) and a plain net. They have
equal numbers of parameters (widths are scaled until they agree), data, steps and optimiser, and no
drop-path, which only the fractal net could use. The report shows accuracy, NLL, ECE, training
speed, and the gradient of each unit by its depth, before and after training.

    make experiment NAME=architectures
    make experiment NAME=architectures ARGS="--preset paper"    # 400 epochs; needs a GPU or TPU

Laptop: 10,000 training images, 8 epochs; 50 minutes on one core. Figures: docs/results.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import jax
import jax.numpy as jnp

import jfractal as jf
from experiments import _nets as nets
from experiments import _routes as routes
from experiments import report
from experiments._images import DataConfig, Split
from experiments._nets import ModelConfig, TrainConfig
from experiments.report import Outcome, Picture, Section, highest
from experiments.rows import Rows
from experiments.run import Run
from experiments.settings import presets
from jfractal import topology, viz
from jfractal.nn import BlockNet
from jfractal.typing import Variables

OTHERS = {"residual": jf.ResNet, "dense": jf.DenseNet, "plain": jf.PlainNet}


@dataclass(frozen=True)
class Config(nets.Config):
    """Settings of `architectures`; the model is that of the fractal net, whose size all have."""

    data: DataConfig = DataConfig(num_train=12_000, num_validation=2000)
    model: ModelConfig = ModelConfig(kernel_init="he")
    train: TrainConfig = TrainConfig(local_rate=0.0, global_rate=0.0)


PRESETS = presets(
    Config(), paper={**nets.PAPER, "model": {"widths": nets.PAPER_WIDTHS}}, quick=nets.QUICK
)

FINDING = highest("accuracy", "net", of="test accuracy")


def run(config: Config, run: Run) -> Outcome:
    """Trains and tests all four."""
    split, rows, gradients = Split.load(config.data, config.seed), Rows(), Rows()
    each = architectures(config, split)
    for name in (cell["net"] for cell in run.each(net=each)):
        net = each[name]
        first = split.standardise(split.train[0][:1])
        start = jax.jit(net.init)(jax.random.key(config.seed), first)
        began = perf_counter()
        trained = nets.train(config, run, net, split, name=name)
        speed = config.train.num_epochs * len(split.train[0]) / (perf_counter() - began)
        whole = routes.classify(net.apply, trained, split, split.test[0], num_samples=1)
        rows.extend(routes.by_route(net, split, {"whole net": whole}, net=name))
        figures = {"num_params": net.num_params(split.shape), "images_per_second": speed}
        rows.add(figures, net=name)
        for when, variables in {"before": start, "after": trained.variables}.items():
            for depth, norm in gradient_by_depth(config, net, variables, split):
                gradients.add({"norm of the gradient": norm}, net=name, when=when, depth=depth)
    pictures = [
        Picture(viz.structure(net.blocks[0]), f"{name}: one block.") for name, net in each.items()
    ]
    names = ("depth", "mflops", *routes.SCORES, "num_params", "images_per_second")
    return Outcome.of(
        split.source,
        rows,
        Section(
            "Equal parameters, equal steps",
            "Images a second: of the whole training, with compilation and the validation after "
            "each epoch.",
            report.table(rows, names, by=("net",)),
        ),
        gradients_section(gradients),
        Section("Structure", pictures=pictures),
    )


def architectures(config: Config, split: Split) -> dict[str, BlockNet]:
    """The fractal net, and others as deep, scaled to its number of parameters."""
    fractal = nets.fractal_net(config, split.num_classes)
    size = fractal.num_params(split.shape)
    options = {"depth": 2 ** (config.model.columns - 1), **nets.options(config)}

    def scaled(make: Callable[..., BlockNet]) -> BlockNet:
        """The largest net of at most that size whose widths are a multiple of the fractal's."""

        def net(factor: float) -> BlockNet:
            widths = [max(round(factor * width), 1) for width in config.model.widths]
            return make(split.num_classes, **{**options, "widths": widths})

        low, high = 0.05, 8.0
        for _ in range(40):
            factor = (low + high) / 2
            is_large = net(factor).num_params(split.shape) > size
            low, high = (low, factor) if is_large else (factor, high)
        return net(low)

    return {"fractal": fractal, **{name: scaled(make) for name, make in OTHERS.items()}}


def gradient_by_depth(
    config: Config, net: BlockNet, variables: Variables, split: Split
) -> list[tuple[int, float]]:
    """Depths of units in the net, and norms of the gradients of their kernels on one batch."""
    batch = split.standardise(split.train[0][:500]), jnp.asarray(split.train[1][:500])
    model = nets.model_of(config, net)

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


def gradients_section(rows: Rows) -> Section:
    """Norms of gradients by depth."""
    axes = {"by": "net", "logy": True, "xlabel": "depth of the unit"}
    caption = "Norm of the gradient of the kernels at each depth, {} training."
    return Section(
        "Gradients by depth",
        "Mean over the units that stand at one depth, counted along the longest path from the "
        "input, and its standard error; cross-entropy in nats of 500 training images.",
        pictures=[
            report.curves(of, "depth", "norm of the gradient", caption=caption.format(when), **axes)
            for when, of in ((when, rows.where(when=when)) for when in ("before", "after"))
        ],
    )
