"""A Bayesian fractal net on CIFAR-10: what it knows, and whether it knows that it does not.

Every weight of the FractalNet's convolutions and of its dense layer is a Gaussian, trained on the
evidence lower bound (Bayes by Backprop, Blundell et al., ICML 2015) with the drop-path of
FractalNet (Larsson et al., ICLR 2017). Normalisation is by groups, without batch statistics.
Prediction averages the probabilities of sampled networks. Its entropy splits into an aleatoric part
(every sampled network is unsure) and an epistemic part (they disagree). Two classes are left out of
training, and the epistemic part should distinguish their images from the others.

    make experiment NAME=cifar_bayes_fractal
    make experiment NAME=cifar_bayes_fractal ARGS="--data.held-out 0 1"

Laptop: 23 minutes on 2 CPU cores, 8 of them for the predictions of 16 networks at every depth.
Expect an accuracy of 70 % on the images of eight classes, and an AUROC of 0.64 for each of the
total, the aleatoric and the epistemic entropy. The `paper` preset has not been run. The posterior
is cold: the KL has a factor below 1 (flag --posterior.kl-weight). At factor 1, all labels together
are worth fewer nats than two million weights cost to encode, so the mean-field optimum is close to
the prior (see `digits_fractal`).
"""

from dataclasses import dataclass, replace

import numpy as np

import jfractal as jf
from experiments import _images as images
from experiments import _nets as nets
from experiments import _routes as routes
from experiments._images import DataConfig, Split
from experiments._nets import ModelConfig, PosteriorConfig, TrainConfig
from experiments._pruning import sureness
from experiments.ranges import Choices, Natural
from experiments.report import Outcome, Picture, Section, highest, table
from experiments.rows import Rows
from experiments.run import Run
from experiments.settings import presets
from jfractal import metrics, viz

ENTROPIES = {"total": "entropy", "aleatoric": "aleatoric", "epistemic": "epistemic"}


@dataclass(frozen=True)
class HeldOutConfig(DataConfig):
    """Which images, and which classes are unknown to the net."""

    # Classes left out of training (of CIFAR-10: 3 is cat, 9 is truck).
    held_out: Choices[Natural] = (3, 9)


@dataclass(frozen=True)
class Config(nets.Config):
    """Settings of `cifar_bayes_fractal`."""

    data: HeldOutConfig = HeldOutConfig()
    model: ModelConfig = ModelConfig(norm="group")
    train: TrainConfig = TrainConfig("adam", num_epochs=5, learning_rate=1e-3, weight_decay=0.0)
    posterior: PosteriorConfig = PosteriorConfig(scale=0.01)


PRESETS = presets(
    Config(),
    paper={"model": {"widths": nets.PAPER_WIDTHS}, "train": {"num_epochs": 400, "batch_size": 100}},
    quick={**nets.QUICK, "posterior": {"num_samples": 4}},
)

FINDING = highest("auroc", "entropy", of="AUROC of test images against those of held-out classes")


def run(config: Config, run: Run) -> Outcome:
    """Trains the net without two classes, then asks it about all of them."""
    source = images.load(config.data, config.seed)
    known, unknown = jf.data.hold_out_classes(source, config.data.held_out)
    split = Split.of(known, config.data.num_validation, config.seed).augmented(config.data)
    net = nets.fractal_net(config, split.num_classes, config.posterior)
    posterior = nets.train(config, run, net, split, posterior=config.posterior)

    draws = config.posterior.num_samples
    predictions = routes.test(net, posterior, split, num_samples=draws)
    whole = predictions["whole net"]
    elsewhere = routes.classify(net.apply, posterior, split, unknown, num_samples=draws)
    rows = routes.by_route(net, split, predictions)
    spread, weights = sureness(posterior, config.posterior.scale)
    rows.extend([*separation(whole, elsewhere), *spread])
    names = " and ".join(source.class_names[c] for c in config.data.held_out)
    parts = {"known classes": whole, "held-out classes": elsewhere}
    epistemic = {name: np.asarray(of.epistemic) for name, of in parts.items()}
    histogram = viz.score_histograms(epistemic, xlabel="epistemic entropy (nats)")
    return Outcome.of(
        replace(known, requested=source.requested),
        rows,
        Section(
            "Known and unknown",
            f"Test images of the classes in training, against test images of {names}, which "
            "the net never saw. Entropies in nats, mean per image; AUROC is the probability "
            "that an image of an unknown class gets the higher entropy.",
            table(rows, ("known", "unknown", "auroc"), by=("entropy",)),
            [Picture(histogram, "Epistemic entropy of the whole net's prediction.")],
        ),
        weights,
        routes.routes_section(rows),
        routes.reliability_section({"whole net": whole}, split.test[1]),
        routes.training_section(run),
        routes.structure_section(net),
    )


def separation(known: jf.Prediction, unknown: jf.Prediction) -> Rows:
    """Entropies of known and of held-out classes, and how well they tell the two apart."""
    rows = Rows()
    for name, part in ENTROPIES.items():
        here, there = getattr(known, part), getattr(unknown, part)
        auroc = float(metrics.auroc(here, there))
        figures = {"known": float(here.mean()), "unknown": float(there.mean()), "auroc": auroc}
        rows.add(figures, entropy=name)
    return rows
