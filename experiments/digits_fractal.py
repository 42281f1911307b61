"""A fractal net on handwritten digits, deterministic and Bayesian side by side.

The whole path of the package in minutes: the same fractal net (3 blocks, 2 columns), once with
point weights and cross-entropy, once with a Gaussian for every weight and the evidence lower bound
(Bayes by Backprop, Blundell et al., ICML 2015), each predicting at every depth, the Bayesian net by
Monte Carlo over weights. Data: the 1,797 8×8 digits that come with scikit-learn.

    make experiment NAME=digits_fractal

One to two minutes on 2 CPU cores, half of it compilation; expect 98 % for both nets. The posterior
is cold: the KL counts with a factor of 0.003. At factor 1 the mean-field optimum of a net with
96,000 weights and 1,300 images is close to the prior, and the net hardly learns: to encode a weight
costs about a nat, and all labels together are worth some 3,000.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

import jfractal as jf
from experiments import _nets as nets
from experiments import _routes as routes
from experiments._images import DataConfig, Split
from experiments._nets import ModelConfig, PosteriorConfig, TrainConfig
from experiments._pruning import smaller_fractals
from experiments.report import Outcome, Picture, Section, table
from experiments.rows import Rows
from experiments.run import Run
from experiments.settings import presets


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


def run(config: Config, run: Run) -> Outcome:
    """Trains both nets and tests them at every depth."""
    split = Split.load(config.data, config.seed)
    rows, whole, posteriors = Rows(), {}, {}
    bayes = nets.fractal_net(config, split.num_classes, config.posterior)
    for name, posterior in {"deterministic": None, "mean field": config.posterior}.items():
        net = nets.fractal_net(config, split.num_classes, posterior)
        found = nets.train(config, run, net, split, name=name, posterior=posterior)
        draws = posterior.num_samples if posterior else 1
        predictions = routes.test(net, found, split, num_samples=draws)
        rows.extend(routes.by_route(net, split, predictions, method=name))
        whole[name], posteriors[name] = predictions["whole net"], found

    by_method = table(rows, routes.SCORES, by=("route",), across="method")
    q = posteriors["mean field"]
    smaller, section = smaller_fractals(bayes, {"params": q.params, **q.variables}, split)
    rows.extend(smaller)
    return Outcome.of(
        split.source,
        rows,
        Section(
            "Deterministic and mean field",
            "The mean-field net predicts by averaging the probabilities of sampled networks. "
            "NLL in nats per image.",
            by_method,
        ),
        routes.reliability_section(whole, split.test[1]),
        hardest_section(whole["mean field"], split),
        section,
        *(routes.training_section(run, name) for name in posteriors),
        routes.structure_section(bayes),
    )


def hardest_section(prediction: jf.Prediction, split: Split) -> Section:
    """The test digits of which the posterior is least sure."""
    order = np.argsort(-np.asarray(prediction.entropy))[:16]
    probs, labels = np.asarray(prediction.probs), split.test[1]
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    for axes, i in zip(figure.subplots(2, 8).flat, order):
        axes.imshow(split.test[0][i, ..., 0], cmap="gray_r")
        axes.set_title(f"{labels[i]}, said {probs[i].argmax()} ({probs[i].max():.0%})", fontsize=7)
        axes.axis("off")
    caption = "The test digits of highest predictive entropy: label, prediction, probability."
    return Section("What the posterior is unsure of", pictures=[Picture(figure, caption)])
