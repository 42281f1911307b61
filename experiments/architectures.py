"""Fractal, residual, dense and plain nets of equal size, trained alike.

Four architectures that differ by the expression of their blocks only: FractalNet (Larsson et al.,
ICLR 2017), ResNet (He et al., CVPR 2016), DenseNet (Huang et al., CVPR 2017) and a plain net. Equal
numbers of parameters (widths are scaled until they agree), equal data, steps and optimiser, and no
drop-path, which only the fractal could use. Reports accuracy, NLL, ECE, training speed, and how
large the gradient of each unit is, by its depth, before and after training.

Laptop: 10,000 training images, 8 epochs, one seed, all 10,000 test images of a JPEG copy of
CIFAR-10; 50 minutes of processor time (58 minutes on one core with other work beside it).

                    fractal   residual      dense      plain
    parameters    2,113,594  2,093,054  2,101,312  2,098,322
    MFLOPs            107.6      113.2       76.5      114.7
    accuracy           .706       .679       .697       .669
    NLL (nats)         .835       .919       .868       .934
    ECE                .036       .032       .026       .037

At 20 layers, and after so few steps, joining paths of many lengths helps: the fractal net is best,
the plain one, which at this depth still trains, is last; the standard error of an accuracy is 0.5
points. The fractal net's gradients are the smallest before training and as large as those of the
others after it. It is the slowest a step (77 images a second against 134 of the plain net, with
other work beside), for its units are many and small.

    make experiment NAME=architectures
    make experiment NAME=architectures ARGS="--preset paper"    # 400 epochs; needs a GPU or TPU
"""

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp

import jfractal as jf
from experiments import _classification as classification
from experiments._classification import DataConfig, ModelConfig, Split, TrainConfig
from experiments.report import Outcome, Section, Table
from experiments.run import Run
from jfractal import topology, viz


@dataclass(frozen=True)
class Config(classification.Config):
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
        data=classification.PAPER_DATA,
        model=replace(LAPTOP.model, widths=classification.PAPER_MODEL.widths),
        train=replace(classification.PAPER_TRAIN, local_rate=0.0, global_rate=0.0),
    ),
    "quick": replace(
        LAPTOP,
        quick=True,
        data=classification.QUICK_DATA,
        model=classification.QUICK_MODEL,
        train=replace(LAPTOP.train, num_epochs=2, batch_size=50, log_every=1),
    ),
}


def run(config: Config, run: Run) -> Outcome:
    """Trains and tests all four."""
    source = classification.load(config.data, config.seed)
    split = Split.of(source, config.data.num_validation, config.seed)
    shape, labels = split.train[0].shape[1:], split.test[1]
    scores, before, after = {}, {}, {}
    nets = architectures(config.model, len(source.class_names), shape)
    for name, net in nets.items():
        objective = classification.likelihood_objective(config, net, split)
        image = split.standardise(split.train[0][:1])
        start = jax.jit(net.init)(jax.random.key(config.seed), image)
        before[name] = gradient_by_depth(net, start, split)
        began = perf_counter()
        state = classification.train(config, run, net, split, objective, name=name)
        seconds = perf_counter() - began
        after[name] = gradient_by_depth(net, state.model, split)
        prediction = classification.test(net, jf.Point(state.model), split)["whole net"]
        scores[name] = {
            **classification.scores(prediction, labels),
            "num_params": net.num_params(shape),
            "mflops": net.num_flops(shape) / 1e6,
            "depth": net.depth(),
            "images_per_second": config.train.num_epochs * len(split.train[0]) / seconds,
        }
    return Outcome(
        {
            "dataset": source.name,
            "dataset_requested": source.requested,
            **classification.flat(scores),
        },
        [
            scores_section(scores, text=source.note),
            gradients_section(run, before, after),
            structures_section(run, nets),
        ],
    )


def architectures(config: ModelConfig, num_classes: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """The fractal net, and others as deep, scaled to its number of parameters."""
    options = {"norm": config.norm, "dropout": config.dropout, "kernel_init": config.kernel_init}
    fractal = classification.fractal_net(config, num_classes)
    depth = 2 ** (config.columns - 1)
    makers = {"residual": jf.ResNet, "dense": jf.DenseNet, "plain": jf.PlainNet}
    others = {
        name: scaled(
            lambda widths, make=make: make(num_classes, depth=depth, widths=widths, **options),
            config.widths,
            shape,
            fractal.num_params(shape),
        )
        for name, make in makers.items()
    }
    return {"fractal": fractal, **others}


def scaled(make: Any, widths: tuple[int, ...], shape: tuple[int, ...], num_params: int) -> Any:
    """The net whose widths are a multiple of `widths`, of about `num_params` parameters."""

    def net(factor: float) -> Any:
        return make(tuple(max(round(factor * width), 1) for width in widths))

    low, high = 0.05, 8.0
    for _ in range(40):
        factor = (low + high) / 2
        low, high = (low, factor) if net(factor).num_params(shape) > num_params else (factor, high)
    return net(low)


def gradient_by_depth(net: Any, variables: Any, split: Split) -> tuple[list[int], list[float]]:
    """Depth of each unit in the net, and the norm of the gradient of its kernel on one batch."""
    images, labels = split.standardise(split.train[0][:500]), jnp.asarray(split.train[1][:500])
    rest = {k: v for k, v in variables.items() if k != "params"}

    @jax.jit
    def gradient(params):
        def loss(params):
            logits, _ = net.apply(
                {"params": params, **rest}, images, train=True, mutable=["batch_stats"]
            )
            log_probs = jax.nn.log_softmax(logits)
            return -jnp.take_along_axis(log_probs, labels[:, None], axis=1).mean()

        return jax.grad(loss)(params)

    leaves = gradient(variables["params"])
    points, first = [], 0
    for i, expr in enumerate(net.blocks, start=1):
        for name, depth in topology.unit_depths(expr).items():
            norm = float(jnp.linalg.norm(leaves[f"block{i}"][name]["conv"]["kernel"].ravel()))
            points.append((first + depth, norm))
        first += topology.depth(expr)
    depths = sorted({depth for depth, _ in points})
    means = [[norm for d, norm in points if d == depth] for depth in depths]
    return depths, [sum(norms) / len(norms) for norms in means]


def scores_section(scores: Any, *, text: str) -> Section:
    """One row for each architecture."""
    names = ["depth", "parameters", "MFLOPs per image", "accuracy", "NLL (nats)", "ECE"]
    keys = ("depth", "num_params", "mflops", "accuracy", "nll", "ece")
    rows = [
        [name, *(round(s[key], 4) for key in keys), round(s["images_per_second"])]
        for name, s in scores.items()
    ]
    return Section(
        "Equal parameters, equal steps",
        f"{text}\n\nImages per second: of the whole training, with compilation and the validation "
        "after each epoch.",
        Table(["net", *names, "training images per second"], rows),
    )


def gradients_section(run: Run, before: Any, after: Any) -> Section:
    """Gradient norms by depth."""
    figures = []
    for when, series in (("before", before), ("after", after)):
        figure = viz.curves(
            series, xlabel="depth of the unit", ylabel="norm of the gradient (nats)", logy=True
        )
        caption = f"Norm of the gradient of the kernels at each depth, {when} training."
        figures.append((run.figure(f"gradients_{when}", figure), caption))
    return Section(
        "Gradients by depth",
        "Mean over the units that stand at one depth, counted along the longest path from the "
        "input; cross-entropy of 500 training images.",
        figures=figures,
    )


def structures_section(run: Run, nets: Any) -> Section:
    """One block of each."""
    return Section(
        "Structure",
        figures=[
            (run.figure(f"structure_{name}", viz.structure(net.blocks[0])), f"{name}: one block.")
            for name, net in nets.items()
        ],
    )
