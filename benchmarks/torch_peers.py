"""Training and prediction by the libraries of PyTorch, each with its own best settings on a CPU."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from bayesian_torch.models.dnn_to_bnn import dnn_to_bnn, get_kl_loss
from blitz.modules import BayesianConv2d, BayesianLinear
from laplace import Laplace
from pytorchcv.models.fractalnet_cifar import CIFARFractalNet
from torch import nn
from torch.nn import functional as F

from benchmarks.elsewhere import Peer
from benchmarks.training import CPU, NUM_CLASSES, NUM_DATA, images

__all__ = [
    "bayesian_torch_training",
    "blitz_prediction",
    "laplace_torch_last_layer",
    "pytorchcv_training",
]


def fractal_net(widths: tuple[int, ...], **options: Any) -> nn.Module:
    """pytorchcv's FractalNet, without drop-path and dropout if not told otherwise."""
    settings = {"dropout_probs": [0.0] * len(widths), "loc_drop_prob": 0.0, "glob_drop_ratio": 0.0}
    net = CIFARFractalNet(
        channels=list(widths), num_columns=3, num_classes=NUM_CLASSES, **settings | options
    )
    return net.to(memory_format=torch.channels_last)


def training(
    net: nn.Module, dtype: str, penalty: Callable[[nn.Module], Any] = lambda net: 0.0
) -> Peer:
    """A net of PyTorch in training, in bfloat16 by autocast: each call is a step."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    x, y = batch(CPU.batch)
    net.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = F.cross_entropy(net(x), y) + penalty(net)
        loss.backward()
        optimizer.step()

    return step, sum(weight.numel() for weight in net.parameters())


def batch(num: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The images and labels that our nets get, as tensors in the format `channels_last`."""
    x, y = (torch.from_numpy(np.array(of)) for of in images(num))
    return x.permute(0, 3, 1, 2), y.long()


def pytorchcv_training(dtype: str, **options: Any) -> Peer:
    """pytorchcv's FractalNet of the paper's widths."""
    return training(fractal_net(CPU.paper_widths, **options), dtype)


def bayesian_torch_training(kind: str, dtype: str) -> Peer:
    """pytorchcv's narrow FractalNet with Gaussian weights by bayesian-torch."""
    net = fractal_net(CPU.widths)
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
    return training(net, dtype, lambda net: get_kl_loss(net) / NUM_DATA)


def blitz_prediction(num_samples: int, num_images: int) -> Peer:
    """Prediction by so many networks, each drawn anew by BLiTZ."""
    net = with_bayesian_layers(fractal_net(CPU.widths)).eval()
    x, _ = batch(num_images)

    def predict() -> None:
        with torch.inference_mode():
            torch.stack([net(x).softmax(-1) for _ in range(num_samples)]).mean(0)

    return predict, sum(num_blitz_weights(m) for m in net.modules() if is_blitz(m))


def laplace_torch_last_layer(num_examples: int) -> Peer:
    """laplace-torch's fit of the last layer of a perceptron, the Hessian whole."""
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(3072, 400),
        nn.ReLU(),
        nn.Linear(400, 50),
        nn.ReLU(),
        nn.Linear(50, NUM_CLASSES),
    )
    x, y = batch(num_examples)
    data = torch.utils.data.TensorDataset(x.flatten(1), y)
    batches = torch.utils.data.DataLoader(data, batch_size=500)

    def fit() -> None:
        kind = {"subset_of_weights": "last_layer", "hessian_structure": "full"}
        Laplace(net, "classification", **kind).fit(batches)

    return fit, sum(weight.numel() for weight in net.parameters())


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
