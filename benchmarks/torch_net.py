"""FractalNet in PyTorch, as its users would write it; a test holds it equal to ours.

It is written the way the authors generate their nets, column by column and without recursion:
time runs over the units of the deepest column, and wherever columns end at one time they join.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.training import NUM_CLASSES, Scale, images

__all__ = ["TorchFractalNet", "compiled_training"]


class TorchFractalNet(nn.Module):
    """conv – BN – ReLU units, flat mean joins, 2×2 max-pools, one linear layer."""

    def __init__(self, num_classes: int, columns: int, widths: Sequence[int]):
        super().__init__()
        self.columns, self.blocks, channels = columns, nn.ModuleList(), 3
        for width in widths:
            units = nn.ModuleDict()
            for column in range(1, columns + 1):
                for k in range(1, 2 ** (column - 1) + 1):
                    inputs = channels if k == 1 else width
                    units[f"column{column}_unit{k}"] = nn.Sequential(
                        nn.Conv2d(inputs, width, 3, padding=1, bias=False),
                        nn.BatchNorm2d(width),
                        nn.ReLU(),
                    )
            self.blocks.append(units)
            channels = width
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images, channels first, to logits."""
        for units in self.blocks:
            joined, inputs = x, {column: x for column in range(1, self.columns + 1)}
            for time in range(1, 2 ** (self.columns - 1) + 1):
                # A unit of column c takes 2^(C − c) steps of the deepest column.
                ends = {}
                for column in inputs:
                    k, rest = divmod(time, 2 ** (self.columns - column))
                    if rest == 0:
                        ends[column] = units[f"column{column}_unit{k}"](inputs[column])
                joined = sum(ends.values()) / len(ends)  # which leaves channels last in memory
                inputs.update(dict.fromkeys(ends, joined))
            x = F.max_pool2d(joined, 2)
        return self.head(x.mean((2, 3)))


def compiled_training(scale: Scale) -> tuple[Callable[[], None], int]:
    """A training step of the paper's net, and the number of its weights.

    Channels last, compiled, under autocast to the dtype of the scale: PyTorch's fastest way.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = TorchFractalNet(NUM_CLASSES, 3, scale.paper_widths).to(device)
    net = net.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    x, labels = (torch.from_numpy(np.array(of)).to(device) for of in images(scale.batch))
    x = x.permute(0, 3, 1, 2)
    forward = torch.compile(net)
    dtype = getattr(torch, np.dtype(scale.dtype).name)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss = F.cross_entropy(forward(x), labels.long())
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device

    return step, sum(weight.numel() for weight in net.parameters())
