"""A fractal net on handwritten digits, deterministic and Bayesian side by side.

This experiment runs through the whole package in minutes. The same fractal net (3 blocks, 2
columns) is trained twice: with point weights and cross-entropy, and with a Gaussian for every
weight and the evidence lower bound (Bayes by Backprop, Blundell et al., ICML 2015). Both predict at
every depth, the Bayesian net by Monte Carlo over weights. The data are the 1,797 8×8 digits of
scikit-learn.

    make experiment NAME=digits_fractal

One to two minutes on 2 CPU cores, half of it compilation; expect 98 % for both nets. The posterior
is cold: the KL has a factor of 0.003. At factor 1, the mean-field optimum of a net with 96,000
weights and 1,300 images is close to the prior, and the net hardly learns, because a weight costs
about a nat to encode and all labels together are worth only about 3,000 nats.
"""

from dataclasses import dataclass

import jfractal as jf
from experiments import _nets as nets
from experiments import _routes as routes
from experiments._images import DataConfig, Split
from experiments._nets import ModelConfig, PosteriorConfig, TrainConfig
from experiments._pruning import smaller_fractals, sureness
from experiments.report import Outcome, Picture, Section, highest, table
from experiments.rows import Rows
from experiments.run import Run
from experiments.settings import presets
from jfractal.progress import doing


@dataclass(frozen=True)
class Config(nets.Config):
    """Settings of `digits_fractal`."""

    data: DataConfig = DataConfig(name="digits", num_validation=150, flip=False, shift=1)
    model: ModelConfig = ModelConfig(
        columns=2, widths=(16, 32, 64), norm="group", dropout=(0.0,) * 3, drop_path_per="example"
    )
    train: TrainConfig = nets.DIGITS
    posterior: PosteriorConfig = PosteriorConfig(prior_scale=0.1, kl_weight=0.003)


PRESETS = presets(
    Config(),
    paper={"train": {"num_epochs": 200}},
    quick={
        "data": {"num_train": 250, "num_test": 100},
        "model": {"widths": (4, 8), "dropout": (0.0, 0.0), "drop_path_per": "batch"},
        "train": {"num_epochs": 2, "log_every": 1},
        "posterior": {"num_samples": 4},
    },
)

FINDING = highest(
    "accuracy", "method", of="test accuracy of the whole net", where={"route": "whole net"}
)


def run(config: Config, run: Run) -> Outcome:
    """Trains both nets and tests them at every depth."""
    split = Split.load(config.data, config.seed)
    rows, whole, posteriors = Rows(), {}, {}
    bayes = nets.fractal_net(config, split.num_classes, config.posterior)
    settings = {"deterministic": None, "mean field": config.posterior}
    for name in (cell["net"] for cell in run.each(net=settings)):
        posterior = settings[name]
        net = nets.fractal_net(config, split.num_classes, posterior)
        found = nets.train(config, run, net, split, name=name, posterior=posterior)
        draws = posterior.num_samples if posterior else 1
        predictions = routes.test(net, found, split, num_samples=draws)
        rows.extend(routes.by_route(net, split, predictions, method=name))
        whole[name], posteriors[name] = predictions["whole net"], found

    by_method = table(rows, routes.SCORES, by=("route",), across="method")
    q = posteriors["mean field"]
    with doing("pruning and timing"):
        smaller, section = smaller_fractals(bayes, {"params": q.params, **q.variables}, split)
    spread, weights = sureness(q, config.posterior.scale)
    rows.extend([*smaller, *spread])
    return Outcome.of(
        split.source,
        rows,
        Section(
            "Deterministic and mean field",
            "The mean-field net predicts by averaging the probabilities of sampled networks. "
            f"NLL in nats per image. {routes.INTERVALS}",
            by_method,
        ),
        routes.reliability_section(whole, split.test[1]),
        extremes_section(whole["mean field"], split),
        weights,
        section,
        *(routes.training_section(run, name) for name in posteriors),
        routes.structure_section(bayes),
    )


def extremes_section(prediction: jf.Prediction, split: Split) -> Section:
    """The test digits that draws of the weights agree on most, and least."""
    figure = jf.viz.extremes(prediction, split.test[0][..., 0])
    caption = "Above each digit: the predicted class, and its mutual information with the weights."
    title = "What the posterior is sure and unsure of"
    return Section(title, pictures=[Picture(figure, caption)])
