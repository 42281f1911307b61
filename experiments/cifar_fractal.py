"""FractalNet on CIFAR-10: the whole net, and every column of it alone.

Shows that one trained fractal net holds networks of several depths: with drop-path in training,
each column predicts by itself, at its own cost. The network, the drop-path and the augmentation
are those of Larsson, Maire & Shakhnarovich, "FractalNet: Ultra-deep neural networks without
residuals" (ICLR 2017, arXiv:1605.07648); batch statistics are kept apart for the joined net and
for columns that run alone.

    make experiment NAME=cifar_fractal                          # laptop: the recipe, 10 epochs
    make experiment NAME=cifar_fractal ARGS="--preset long"     # wider, 24 epochs
    make experiment NAME=cifar_fractal ARGS="--preset gpu" ACCEL=cuda   # wider still, bfloat16
    make experiment NAME=cifar_fractal ARGS="--preset paper"    # 400 epochs; needs a GPU or TPU

The recipe: a first layer that is computed, 4×4 patches whitened by 32 filters, so that the net
works on maps of 16×16; three blocks of widths 32, 64 and 128, whose columns start as nearly the
same function; Muon for the convolutions; labels smoothed by 0.2; mirrored images, shifted by up to
2 pixels with reflection; every batch runs the whole net, and each column a third of it. Half of
the target of a column is what the whole net says of the same image.

Laptop: 57 minutes on one CPU core, with other work beside it; 475,000 images of training at 132
MFLOP forward, of which the whole net takes 99.1 (without the whitening, 0.8): 0.19 PFLOP. One seed,
all 10,000 test images of CIFAR-10: 88.5 % for the whole net, 83.3, 86.3 and 87.1 % for columns 1, 2
and 3 alone. The best plain net of this forward cost (airbench93) reaches 93 % in 0.18 PFLOP, so the
result is weak beside it, and the deepest column stays 1.4 points behind the whole net.

With the same parts but no distillation, each image for the whole net or for one column and 40 % of
the work (0.075 PFLOP), it was 85.9 %, and 79.8, 83.0 and 83.4 %, a gap of 2.6 points: how much of
the rise is due to what has not been measured. Measured on 5,000 validation images, 3 epochs of
20,000 images, one seed each, without distillation: with half of the images for the columns, 73.9 %
for the whole net and 70.0 % for column 3; with three quarters (and local drop-path at 0.1 for
0.05), 70.9 and 68.7 %. What whitening, smoothing, Muon and the other ingredients are worth one by
one has not been measured, nor has any learning rate but this one. Two trials of 3 epochs ended with
a test on 100 test images, by which nothing was chosen.

Paper: the published error of the 20-layer net is 4.6 % (deepest column alone 4.7 %). The presets
paper, long and gpu have not been run yet; long and gpu are the laptop's recipe with wider nets and
more epochs, not tuned. A run reads the test set once, at the end, and chooses nothing by it.
"""

from dataclasses import dataclass
from typing import Literal

from experiments import _nets as nets
from experiments import _routes as routes
from experiments._images import Split
from experiments.report import Outcome, highest
from experiments.run import Run
from experiments.settings import presets


@dataclass(frozen=True)
class Config(nets.Config):
    """Settings of `cifar_fractal`."""

    # One preset more than others have.
    preset: Literal["laptop", "long", "paper", "gpu"] = "laptop"  # pyright: ignore[reportIncompatibleVariableOverride]
    """Minutes on a laptop, an hour or two there, the paper, or minutes on a GPU."""


LONG = {
    "model": {"widths": (48, 96, 192)},
    "train": {"num_epochs": 24},
}
GPU = {
    "model": {"widths": (64, 128, 256)},
    "train": {"num_epochs": 40, "batch_size": 960, "precision": "bfloat16"},
}
PAPER = Config(preset="paper").but(**nets.PAPER)
PRESETS = presets(Config().but(**nets.RECIPE), quick=nets.QUICK, long=LONG, gpu=GPU)
PRESETS |= {"paper": PAPER}

FINDING = highest("accuracy", "route", of="test accuracy")


def run(config: Config, run: Run) -> Outcome:
    """Trains the net, then tests it at every depth."""
    split = Split.load(config.data, config.seed)
    net = nets.fractal_net(config, split.num_classes)
    posterior = nets.train(config, run, net, split)
    predictions = routes.test(net, posterior, split)
    rows = routes.by_route(net, split, predictions)
    return Outcome.of(
        split.source,
        rows,
        routes.routes_section(rows),
        routes.training_section(run),
        routes.reliability_section(predictions, split.test[1]),
        routes.structure_section(net),
    )
