"""A Bayesian fractal net on CIFAR-10: what it knows, and whether it knows that it does not.

Every weight of the FractalNet's convolutions and of its dense layer is a Gaussian, trained on the
evidence lower bound (Bayes by Backprop, Blundell et al., ICML 2015) with the drop-path of
FractalNet (Larsson et al., ICLR 2017), and with group normalisation, which has no batch
statistics. Prediction averages the probabilities of sampled networks; its entropy splits into an
aleatoric part (every sampled network is unsure) and an epistemic part (they disagree). Two classes
are left out of training; the epistemic part should tell their images from the others.

    make experiment NAME=cifar_bayes_fractal
    make experiment NAME=cifar_bayes_fractal ARGS="--data.held-out 0 1"

Some 23 minutes on 2 CPU cores, 8 of them for the predictions by 16 networks at every depth; expect
70 % of the images of eight classes, and an AUROC of 0.64 of the total, the aleatoric and the
epistemic entropy alike. The `paper` preset has not been run. The posterior is cold: the KL counts
with a factor below 1 (flag --posterior.kl-weight). At factor 1 all labels together are worth fewer
nats than it costs to say anything about two million weights, and the mean-field optimum is close to
the prior (see `digits_fractal`).
"""

from dataclasses import dataclass, field, replace

import numpy as np

import jfractal as jf
from experiments import _classification as classification
from experiments._classification import DataConfig, ModelConfig, PosteriorConfig, Split, TrainConfig
from experiments.report import Outcome, Section, Table
from experiments.run import Run
from jfractal import metrics, viz
from jfractal.data import ImageData


@dataclass(frozen=True)
class HeldOutConfig(DataConfig):
    """Which images, and which classes are unknown to the net."""

    held_out: tuple[int, ...] = (3, 9)
    """Classes left out of training (of CIFAR-10: 3 is cat, 9 is truck)."""


@dataclass(frozen=True)
class Config(classification.Config):
    """Settings of `cifar_bayes_fractal`."""

    data: HeldOutConfig = field(default_factory=HeldOutConfig)
    """The images."""
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    """The distribution over weights."""


LAPTOP = Config(
    model=ModelConfig(norm="group"),
    train=TrainConfig(optimizer="adam", num_epochs=5, learning_rate=1e-3, weight_decay=0.0),
    posterior=PosteriorConfig(scale=0.01),
)
PRESETS = {
    "laptop": LAPTOP,
    "paper": replace(
        LAPTOP,
        preset="paper",
        model=replace(LAPTOP.model, widths=(64, 128, 256, 512, 512)),
        train=replace(LAPTOP.train, num_epochs=400, batch_size=100),
    ),
    "quick": replace(
        LAPTOP,
        quick=True,
        data=HeldOutConfig(num_train=250, num_test=100, num_validation=50),
        model=replace(classification.QUICK_MODEL, norm="group"),
        train=replace(LAPTOP.train, num_epochs=2, batch_size=50, log_every=1),
        posterior=replace(LAPTOP.posterior, num_samples=4),
    ),
}


def run(config: Config, run: Run) -> Outcome:
    """Trains the net without two classes, then asks it about all of them."""
    source = classification.load(config.data, config.seed)
    known, unknown = jf.data.hold_out_classes(source, config.data.held_out)
    split = Split.of(known, config.data.num_validation, config.seed)
    net = classification.bayes_fractal_net(config.model, config.posterior, len(known.class_names))
    objective = classification.elbo_objective(config, config.posterior, net, split)
    state = classification.train(config, run, net, split, objective)

    posterior = jf.MeanField(state.params, state.variables)
    num_samples = config.posterior.num_samples
    predictions = classification.test(net, posterior, split, num_samples=num_samples)
    elsewhere = classification.classify(
        net.apply, posterior, split, unknown, num_samples=num_samples
    )
    labels = split.test[1]
    by_route = {route: classification.scores(p, labels) for route, p in predictions.items()}
    whole = predictions["whole net"]
    separation = {
        f"auroc_{part}": float(metrics.auroc(getattr(whole, part), getattr(elsewhere, part)))
        for part in ("entropy", "aleatoric", "epistemic")
    }
    means = {
        f"{part}_{where}": float(getattr(prediction, part).mean())
        for where, prediction in {"known": whole, "unknown": elsewhere}.items()
        for part in ("entropy", "aleatoric", "epistemic")
    }
    return Outcome(
        {
            "dataset": known.name,
            "dataset_requested": source.requested,
            **classification.flat(by_route),
            **separation,
            **means,
            "kl_weight": config.posterior.kl_weight,
        },
        [
            uncertainty_section(run, whole, elsewhere, {**separation, **means}, source, config),
            classification.columns_section(net, split, by_route, text=source.note),
            classification.reliability_section(run, {"whole net": whole}, labels),
            classification.curves_section(run),
            classification.structure_section(run, net),
        ],
    )


def uncertainty_section(
    run: Run,
    known: jf.Prediction,
    unknown: jf.Prediction,
    figures: dict[str, float],
    source: ImageData,
    config: Config,
) -> Section:
    """Entropy on known and on held-out classes, and how well it tells them apart."""
    rows = [
        [
            name,
            *(round(figures[f"{part}_{where}"], 4) for where in ("known", "unknown")),
            round(figures[f"auroc_{part}"], 4),
        ]
        for name, part in {
            "total": "entropy",
            "aleatoric": "aleatoric",
            "epistemic": "epistemic",
        }.items()
    ]
    scores = {
        "known classes": np.asarray(known.epistemic),
        "held-out classes": np.asarray(unknown.epistemic),
    }
    names = " and ".join(source.class_names[c] for c in config.data.held_out)
    histogram = viz.score_histograms(scores, xlabel="epistemic entropy (nats)")
    return Section(
        "Known and unknown",
        f"Test images of the classes in training, against test images of {names}, which the net "
        "never saw. Entropies in nats, mean per image; AUROC is the probability that an image of "
        "an unknown class gets the higher entropy.",
        Table(["entropy", "known classes", "held-out classes", "AUROC"], rows),
        [(run.figure("epistemic", histogram), "Epistemic entropy of the whole net's prediction.")],
    )
