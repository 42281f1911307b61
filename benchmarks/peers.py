"""jfractal beside the libraries of PyTorch: the same nets, the same batches, in turns.

Each has both cores, a process of its own, and its own best settings for training on CPU; sizes of
nets are checked to be the same before anything is timed.
"""

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

import jfractal as jf
from benchmarks.elsewhere import Elsewhere, Peer
from benchmarks.half import where_there_are_units
from benchmarks.row import Row
from benchmarks.timing import interleaved
from benchmarks.training import (
    CPU,
    NUM_CLASSES,
    Scale,
    Training,
    bayesian,
    deterministic,
    images,
)
from experiments._perceptron import Perceptron, classifier, start
from jfractal.posterior.gaussian import Estimator, gaussians

__all__ = ["ROWS"]

BATCH = CPU.batch
COLUMNS = 3
DROPOUT = (0.0, 0.1, 0.2, 0.3, 0.4)  # the paper's, which pytorchcv's net has


def _row(name: str, times: Mapping[str, np.ndarray], num_images: int, at_least: float) -> Row:
    """Of images a second."""
    rates = {who: float(np.median(num_images / times[who])) for who in ("ours", "other")}
    ratio = float(np.median(times["other"] / times["ours"]))
    return Row(name, rates["ours"], rates["other"], ratio, "images/s", at_least=at_least)


def torch_peer(name: str, *args: Any, **options: Any) -> Peer:
    """Makes a peer by a function of `benchmarks.torch_peers`, in whose process alone PyTorch is."""
    return getattr(importlib.import_module("benchmarks.torch_peers"), name)(*args, **options)


in_turns = partial(interleaved, in_a_row=2)


def _num_weights(tree: Any) -> int:
    return sum(np.size(leaf) for leaf in jax.tree.leaves(tree))


def fractal_step(name: str, dtype: str, at_least: float, _: Scale) -> Row:
    """A training step of the paper's net of 20 layers, without drop-path."""
    net = jf.FractalNet(NUM_CLASSES, columns=COLUMNS, widths=CPU.paper_widths, dtype=dtype)
    ours = Training(deterministic(net), net, images(BATCH))
    make = partial(torch_peer, "pytorchcv_training", dtype)
    with Elsewhere(make, _num_weights(ours.state.params)) as other:
        times = in_turns({"ours": ours, "other": other}, budget=30)
    return _row(name, times, BATCH, at_least=at_least)


def fractal_drop_path(name: str, dtype: str, at_least: float, _: Scale) -> Row:
    """The same with the paper's drop-path and dropout, each in its own way.

    pytorchcv runs everything and masks half of every batch down to one column; ours runs half of
    the batches through one column alone. A step of ours takes its expected time over routes.
    """
    options = {"dropout": DROPOUT, "dtype": dtype}
    net = jf.FractalNet(NUM_CLASSES, columns=COLUMNS, widths=CPU.paper_widths, **options)
    on_route = lambda route: Training(
        deterministic(net, drop_path=0.15, route=route), net, images(BATCH)
    )
    ours, columns = on_route(0), {f"column {c}": on_route(c) for c in net.columns}
    drops = {"dropout_probs": list(DROPOUT), "loc_drop_prob": 0.15, "glob_drop_ratio": 0.5}
    make = partial(torch_peer, "pytorchcv_training", dtype, **drops)
    with Elsewhere(make, _num_weights(ours.state.params)) as other:
        times = in_turns({"joined": ours, **columns, "other": other}, budget=30)
    alone = np.mean([times[column] for column in columns], axis=0)
    times["ours"] = (times["joined"] + alone) / 2
    return _row(name, times, BATCH, at_least=at_least)


def bbb(name: str, kind: str, estimator: Estimator, dtype: str, at_least: float, _: Scale) -> Row:
    """A step of Bayes by Backprop: a narrow FractalNet with Gaussian weights, KL included."""
    conv = partial(jf.BayesConv, estimator=estimator)
    options = {"conv": conv, "dtype": dtype}
    net = jf.FractalNet(NUM_CLASSES, columns=COLUMNS, widths=CPU.widths, **options)
    ours = Training(bayesian(net), net, images(BATCH))
    make = partial(torch_peer, "bayesian_torch_training", kind, dtype)
    with Elsewhere(make, _num_weights(ours.state.params)) as other:
        times = in_turns({"ours": ours, "other": other}, budget=20)
    return _row(name, times, BATCH, at_least=at_least)


def mc(_: Scale) -> Row:
    """Prediction by 16 networks, each drawn anew, of a narrow FractalNet."""
    num_samples, num_images = 16, 64
    x = images(num_images)[0]
    net = jf.FractalNet(NUM_CLASSES, columns=COLUMNS, widths=CPU.widths, conv=jf.BayesConv)
    variables = jax.jit(net.init)(jax.random.key(0), x[:1])
    posterior = jf.MeanField(variables["params"], {"batch_stats": variables["batch_stats"]})
    num_gaussian = 2 * sum(np.size(g.mean) for g in gaussians(posterior.params))

    def by_ours() -> None:
        key = jax.random.key(0)
        jax.block_until_ready(
            jf.predict(net.apply, posterior, x, key, num_samples=num_samples).probs
        )

    make = partial(torch_peer, "blitz_prediction", num_samples, num_images)
    with Elsewhere(make, num_gaussian) as by_blitz:
        times = in_turns({"ours": by_ours, "other": by_blitz}, budget=20)
    return _row("mc_vs_blitz", times, num_images, at_least=1.5)


NUM_EXAMPLES = 2000


def last_layer(_: Scale) -> Row:
    """The Laplace approximation of a last layer of 510 weights, the Hessian whole."""
    x, labels = images(NUM_EXAMPLES)
    x = x.reshape(NUM_EXAMPLES, -1)
    net = Perceptron((400, 50), NUM_CLASSES)
    model, params = classifier(net, 1.0), start(net, x)(jax.random.key(0))

    def ours() -> None:
        fit = jf.laplace(
            model, params, (x, labels), where=lambda path, _: path.startswith("output/")
        )
        jax.block_until_ready(fit.sample(jax.random.key(0)))

    make = partial(torch_peer, "laplace_torch_last_layer", NUM_EXAMPLES)
    with Elsewhere(make, _num_weights(params)) as other:
        times = in_turns({"ours": ours, "other": other})
    return _row("last_layer_vs_laplace_torch", times, NUM_EXAMPLES, at_least=1.0)


def in_both(
    name: str, row: Callable[..., Row], *args: Any, reach: tuple[float, float]
) -> dict[str, Callable[[Scale], Row]]:
    """A row in float32 and that in bfloat16, by name, and what each should reach."""
    ours, _, theirs = name.partition("_vs_")
    half = f"{ours}_bf16_vs_{theirs}_autocast"
    single_reach, half_reach = reach
    return {
        name: partial(row, name, *args, "float32", single_reach),
        half: lambda scale: where_there_are_units(row(half, *args, "bfloat16", half_reach, scale)),
    }


ROWS: dict[str, Callable[[Scale], Row]] = {
    **in_both("fractal_step_vs_pytorchcv", fractal_step, reach=(1.0, 1.25)),
    **in_both("fractal_drop_path_vs_pytorchcv", fractal_drop_path, reach=(1.4, 1.7)),
    **in_both(
        "bbb_vs_bayesian_torch_reparam", bbb, "Reparameterization", "reparam", reach=(1.1, 1.2)
    ),
    **in_both("bbb_vs_bayesian_torch_flipout", bbb, "Flipout", "flipout", reach=(1.6, 1.2)),
    "mc_vs_blitz": mc,
    "last_layer_vs_laplace_torch": last_layer,
}
