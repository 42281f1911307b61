"""Fractal, residual, dense and plain nets, as large or as expensive as each other, trained alike.

Four architectures differ only in the expression of their blocks: FractalNet (Larsson et al., ICLR
2017), ResNet (He et al., CVPR 2016), DenseNet (Huang et al., CVPR 2017) and a plain net. The others
are as deep as the fractal net, and their widths are scaled until they have as many parameters as
it, or as many operations a forward pass. All have the recipe of `cifar_fractal`, the same data and
the same steps, and learn from the loss of the whole net alone; a fractal net that is trained by
drop-path and distillation, so that its columns can be used too, is a row of its own. The report
shows accuracy, NLL, ECE, training speed, and the gradient of each unit by its depth, before and
after training.

    make experiment NAME=architectures
    make experiment NAME=architectures ARGS="--preset paper"    # 400 epochs; needs a GPU or TPU

Laptop: 78 minutes on one CPU core with other work beside it. Figures: docs/results.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import jax
import jax.numpy as jnp

import jfractal as jf
from experiments import _nets as nets
from experiments import _routes as routes
from experiments import report
from experiments._images import Split
from experiments.report import Outcome, Picture, Section, highest
from experiments.rows import Rows, slug
from experiments.run import Run, SeedsOptions
from experiments.settings import presets
from jfractal import topology, viz
from jfractal.nn import BlockNet
from jfractal.typing import Variables

OTHERS = {"residual": jf.ResNet, "dense": jf.DenseNet, "plain": jf.PlainNet}
BUDGETS = {"as many parameters": "num_params", "as many operations": "num_flops"}
FRACTAL, DISTILLED = "fractal", "fractal, with its columns"


@dataclass(frozen=True)
class Config(nets.Config, SeedsOptions):
    """Settings of `architectures`; the model is that of the fractal net, by which all are sized."""


PAPER = {**nets.PAPER, "model": {**nets.PAPER_MODEL, "kernel_init": "he"}}
PRESETS = presets(
    Config().but(**nets.RECIPE).but(**nets.SMALL), quick={**nets.QUICK, "num_seeds": 2}
)
PRESETS |= {"paper": Config(preset="paper").but(**PAPER)}

FINDING = highest("accuracy", "net", of="test accuracy")


def run(config: Config, run: Run) -> Outcome:
    """Trains and tests all nets."""
    split, rows, gradients = Split.load(config.data, config.seed), Rows(), Rows()
    each = architectures(config, split)
    example = split.standardise(split.train[0][:1])
    for cell in run.each(seed=range(config.num_seeds), net=each):
        net = each[cell["net"]]
        here = config.but(seed=config.seed + cell["seed"])
        here = here if cell["net"] == DISTILLED else here.but(train=nets.ALONE)
        began = perf_counter()
        name = slug("{net}_seed_{seed}".format(**cell))
        trained = nets.train(here, run, net, split, name=name)
        speed = config.train.num_epochs * len(split.train[0]) / (perf_counter() - began)
        worth = routes.evaluate(net, trained.variables, split)
        size = {"num_params": net.num_params(split.shape), "images_per_second": speed}
        rows.add({**routes.cost(net, split, "whole net"), **worth, **size}, **cell)
        if cell["seed"] == 0 and cell["net"] in shown(each):
            start = jax.jit(net.init)(jax.random.key(config.seed), example)
            for when, variables in {"before": start, "after": trained.variables}.items():
                for depth, norm in gradient_by_depth(here, net, variables, split):
                    of = {"net": cell["net"], "when": when, "depth": depth}
                    gradients.add({"norm of the gradient": norm}, **of)
    names = ("depth", "mflops", "num_params", *routes.SCORES, "images_per_second")
    return Outcome.of(
        split.source,
        rows,
        Section(
            "Equal size, or equal compute, and equal steps",
            f"Means over {config.num_seeds} seeds ± standard errors. Images a second: of the whole "
            "training, with compilation and the validation after each epoch.",
            report.table(rows, names, by=("net",)),
            [report.intervals(rows, "accuracy", by="net")],
        ),
        gradients_section(gradients),
        Section(
            "Structure",
            pictures=[
                Picture(viz.structure(each[name].blocks[0]), f"{name}: one block.")
                for name in shown(each)
            ],
        ),
    )


def shown(each: Mapping[str, BlockNet]) -> list[str]:
    """One net of each architecture: those as large as the fractal net."""
    (few, _) = BUDGETS
    return [name for name in each if name == FRACTAL or name.endswith(few)]


def architectures(config: Config, split: Split) -> dict[str, BlockNet]:
    """The fractal net, twice, and others as deep, scaled to each budget."""
    fractal = nets.fractal_net(config, split.num_classes)
    options = {"depth": 2 ** (config.model.columns - 1), **nets.options(config)}

    def scaled(make: Callable[..., BlockNet], size: str) -> BlockNet:
        """The largest net within a budget whose widths are a multiple of the fractal's."""

        def net(factor: float) -> BlockNet:
            widths = [max(round(factor * width), 1) for width in config.model.widths]
            return make(split.num_classes, **{**options, "widths": widths})

        of = lambda net: getattr(net, size)(split.shape)
        low, high = 0.05, 8.0
        for _ in range(40):
            factor = (low + high) / 2
            low, high = (low, factor) if of(net(factor)) > of(fractal) else (factor, high)
        return net(low)

    others = {
        f"{name}, {budget}": scaled(make, size)
        for budget, size in BUDGETS.items()
        for name, make in OTHERS.items()
    }
    return {FRACTAL: fractal, DISTILLED: fractal, **others}


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
