"""jfractal beside the libraries of PyTorch: the same nets, the same batches, in turns.

Each has both cores, a process of its own, and its own best settings for training on CPU; sizes of
nets are checked to be the same before anything is timed.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
import torch
from bayesian_torch.models.dnn_to_bnn import dnn_to_bnn, get_kl_loss
from blitz.modules import BayesianConv2d, BayesianLinear
from laplace import Laplace
from pytorchcv.models.fractalnet_cifar import CIFARFractalNet
from torch import nn
from torch.nn import functional as F

import jfractal as jf
from benchmarks.elsewhere import Elsewhere, Peer
from benchmarks.half import where_there_are_units
from benchmarks.row import Row
from benchmarks.timing import interleaved
from benchmarks.training import (
    CPU,
    NUM_CLASSES,
    NUM_DATA,
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


def torch_net(widths: tuple[int, ...], **options: Any) -> nn.Module:
    """pytorchcv's FractalNet, without drop-path and dropout if not told otherwise."""
    settings = {"dropout_probs": [0.0] * len(widths), "loc_drop_prob": 0.0, "glob_drop_ratio": 0.0}
    net = CIFARFractalNet(
        channels=list(widths), num_columns=COLUMNS, num_classes=NUM_CLASSES, **settings | options
    )
    return net.to(memory_format=torch.channels_last)


def torch_training(
    net: nn.Module, dtype: str, penalty: Callable[[nn.Module], Any] = lambda net: 0.0
) -> Peer:
    """A net of PyTorch in training, in bfloat16 by autocast: each call is a step."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    x, y = torch_batch(BATCH)
    net.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = F.cross_entropy(net(x), y) + penalty(net)
        loss.backward()
        optimizer.step()

    return step, sum(weight.numel() for weight in net.parameters())


def torch_batch(num: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same images, channels first in shape and last in memory."""
    x, y = (torch.from_numpy(np.array(of)) for of in images(num))
    return x.permute(0, 3, 1, 2), y.long()


def _row(name: str, times: Mapping[str, np.ndarray], num_images: int, at_least: float) -> Row:
    """Of images a second."""
    rates = {who: float(np.median(num_images / times[who])) for who in ("ours", "other")}
    ratio = float(np.median(times["other"] / times["ours"]))
    return Row(name, rates["ours"], rates["other"], ratio, "images/s", at_least=at_least)


def _num_weights(tree: Any) -> int:
    return sum(np.size(leaf) for leaf in jax.tree.leaves(tree))


def pytorchcv_training(dtype: str, **options: Any) -> Peer:
    """pytorchcv's FractalNet of the paper's widths."""
    return torch_training(torch_net(CPU.paper_widths, **options), dtype)


def fractal_step(name: str, dtype: str, at_least: float, _: Scale) -> Row:
    """A training step of the paper's net of 20 layers, without drop-path."""
    net = jf.FractalNet(NUM_CLASSES, columns=COLUMNS, widths=CPU.paper_widths, dtype=dtype)
    ours = Training(deterministic(net), net, images(BATCH))
    make = partial(pytorchcv_training, dtype)
    with Elsewhere(make, _num_weights(ours.state.params)) as other:
        times = interleaved({"ours": ours, "other": other}, budget=30)
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
    make = partial(pytorchcv_training, dtype, **drops)
    with Elsewhere(make, _num_weights(ours.state.params)) as other:
        times = interleaved({"joined": ours, **columns, "other": other}, budget=30)
    alone = np.mean([times[column] for column in columns], axis=0)
    times["ours"] = (times["joined"] + alone) / 2
    return _row(name, times, BATCH, at_least=at_least)


def bayesian_torch_training(kind: str, dtype: str) -> Peer:
    """pytorchcv's narrow FractalNet with Gaussian weights by bayesian-torch."""
    net = torch_net(CPU.widths)
    dnn_to_bnn(
        net,
        {
            "prior_mu": 0.0,
            "prior_sigma": 0.1,
            "posterior_mu_init": 0.0,
            "posterior_rho_init": -4.0,
            "type": kind,
            "moped_enable": False,
            "moped_delta": 0.5,
        },
    )
    return torch_training(net, dtype, lambda net: get_kl_loss(net) / NUM_DATA)


def bbb(name: str, kind: str, estimator: Estimator, dtype: str, at_least: float, _: Scale) -> Row:
    """A step of Bayes by Backprop: a narrow FractalNet with Gaussian weights, KL included."""
    conv = partial(jf.BayesConv, estimator=estimator)
    options = {"conv": conv, "dtype": dtype}
    net = jf.FractalNet(NUM_CLASSES, columns=COLUMNS, widths=CPU.widths, **options)
    ours = Training(bayesian(net), net, images(BATCH))
    make = partial(bayesian_torch_training, kind, dtype)
    with Elsewhere(make, _num_weights(ours.state.params)) as other:
        times = interleaved({"ours": ours, "other": other}, budget=20)
    return _row(name, times, BATCH, at_least=at_least)


def blitz_prediction(num_samples: int, num_images: int) -> Peer:
    """Prediction by so many networks, each drawn anew by BLiTZ."""
    net = with_bayesian_layers(torch_net(CPU.widths)).eval()
    x, _ = torch_batch(num_images)

    def predict() -> None:
        with torch.inference_mode():
            torch.stack([net(x).softmax(-1) for _ in range(num_samples)]).mean(0)

    return predict, sum(num_blitz_weights(m) for m in net.modules() if is_blitz(m))


def mc(_: Scale) -> Row:
    """Prediction by 16 networks, each drawn anew, of a narrow FractalNet."""
    num_samples, num_images = 16, 64
    x, _ = images(num_images)
    net = jf.FractalNet(NUM_CLASSES, columns=COLUMNS, widths=CPU.widths, conv=jf.BayesConv)
    variables = jax.jit(net.init)(jax.random.key(0), x[:1])
    posterior = jf.MeanField(variables["params"], {"batch_stats": variables["batch_stats"]})
    num_gaussian = 2 * sum(np.size(g.mean) for g in gaussians(posterior.params))

    def by_ours() -> None:
        key = jax.random.key(0)
        jax.block_until_ready(
            jf.predict(net.apply, posterior, x, key, num_samples=num_samples).probs
        )

    make = partial(blitz_prediction, num_samples, num_images)
    with Elsewhere(make, num_gaussian) as by_blitz:
        times = interleaved({"ours": by_ours, "other": by_blitz}, budget=20)
    return _row("mc_vs_blitz", times, num_images, at_least=1.5)


HIDDEN, NUM_EXAMPLES = 400, 2000


def torch_last_layer() -> Peer:
    """laplace-torch's fit of the last layer of a perceptron, the Hessian whole."""
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(3072, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, 50),
        nn.ReLU(),
        nn.Linear(50, NUM_CLASSES),
    )
    x, y = torch_batch(NUM_EXAMPLES)
    data = torch.utils.data.TensorDataset(x.flatten(1), y)
    batches = torch.utils.data.DataLoader(data, batch_size=500)

    def fit() -> None:
        kind = {"subset_of_weights": "last_layer", "hessian_structure": "full"}
        Laplace(net, "classification", **kind).fit(batches)

    return fit, sum(weight.numel() for weight in net.parameters())


def last_layer(_: Scale) -> Row:
    """The Laplace approximation of a last layer of 510 weights, the Hessian whole."""
    x, labels = images(NUM_EXAMPLES)
    x = x.reshape(NUM_EXAMPLES, -1)
    net = Perceptron((HIDDEN, 50), NUM_CLASSES)
    model, params = classifier(net, 1.0), start(net, x)(jax.random.key(0))

    def ours() -> None:
        fit = jf.laplace(
            model, params, (x, labels), where=lambda path, _: path.startswith("output/")
        )
        jax.block_until_ready(fit.sample(jax.random.key(0)))

    with Elsewhere(torch_last_layer, _num_weights(params)) as other:
        times = interleaved({"ours": ours, "other": other})
    return _row("last_layer_vs_laplace_torch", times, NUM_EXAMPLES, at_least=1.0)


def is_blitz(module: nn.Module) -> bool:
    """Whether it is a Bayesian layer."""
    return isinstance(module, BayesianConv2d | BayesianLinear)


def num_blitz_weights(layer: nn.Module) -> int:
    """Means and deviations of a Bayesian layer, whose samplers hold them once more."""
    return sum(w.numel() for name, w in layer.named_parameters() if "sampler" not in name)


def with_bayesian_layers(net: nn.Module) -> nn.Module:
    """The net with BLiTZ's layers in place of PyTorch's."""
    for name, child in net.named_children():
        if isinstance(child, nn.Conv2d):
            layer = BayesianConv2d(
                child.in_channels,
                child.out_channels,
                child.kernel_size,
                padding=child.padding,
                bias=child.bias is not None,
            )
            setattr(net, name, layer)
        elif isinstance(child, nn.Linear):
            setattr(net, name, BayesianLinear(child.in_features, child.out_features))
        else:
            with_bayesian_layers(child)
    return net


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
