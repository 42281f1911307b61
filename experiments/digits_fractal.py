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

from dataclasses import dataclass, field, replace

import numpy as np
from matplotlib.figure import Figure

import jfractal as jf
from experiments import _nets as nets
from experiments import _routes as routes
from experiments._images import DataConfig, Split
from experiments._nets import ModelConfig, PosteriorConfig, TrainConfig
from experiments._timing import milliseconds
from experiments.report import Outcome, Picture, Section, table
from experiments.rows import Rows
from experiments.run import Run
from jfractal.nn import BlockNet, keep_columns, prune_paths
from jfractal.posterior import group_snr
from jfractal.typing import Params, Variables


@dataclass(frozen=True)
class Config(nets.Config):
    """Settings of `digits_fractal`."""

    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    """The Bayesian net."""


LAPTOP = Config(
    data=DataConfig(name="digits", num_validation=150, flip=False, shift=1),
    model=ModelConfig(
        columns=2,
        widths=(16, 32, 64),
        dropout=(0.0, 0.0, 0.0),
        norm="group",
        drop_path_per="example",
    ),
    train=TrainConfig(
        optimizer="adam",
        num_epochs=24,
        batch_size=50,
        learning_rate=3e-3,
        weight_decay=0.0,
        log_every=5,
    ),
    posterior=PosteriorConfig(prior_scale=0.1, kl_weight=0.003),
)
PRESETS = {
    "laptop": LAPTOP,
    "paper": replace(LAPTOP, preset="paper", train=replace(LAPTOP.train, num_epochs=200)),
    "quick": replace(
        LAPTOP,
        quick=True,
        data=replace(LAPTOP.data, num_train=250, num_test=100),
        model=ModelConfig(columns=2, widths=(4, 8), dropout=(0.0, 0.0), norm="group"),
        train=replace(LAPTOP.train, num_epochs=2, log_every=1),
        posterior=replace(LAPTOP.posterior, num_samples=4),
    ),
}


def run(config: Config, run: Run) -> Outcome:
    """Trains both nets and tests them at every depth."""
    split = Split.load(config.data, config.seed)
    source = split.source
    size, classes = len(split.train[0]), len(source.class_names)
    point = nets.fractal_net(config.model, classes)
    bayes = nets.bayes_fractal_net(config.model, config.posterior, classes)
    fits = {
        "deterministic": (point, nets.deterministic(config, point, size)),
        "mean field": (bayes, nets.mean_field(config, config.posterior, bayes, size)),
    }
    rows, whole, posteriors = Rows(), {}, {}
    for name, (net, method) in fits.items():
        posterior = nets.train(config, run, method, net, split, name=name)
        draws = config.posterior.num_samples if net is bayes else 1
        predictions = routes.test(net, posterior, split, num_samples=draws)
        rows.rows += routes.by_route(net, split, predictions, method=name).rows
        whole[name], posteriors[name] = predictions["whole net"], posterior

    q = posteriors["mean field"]
    smaller = smaller_nets(bayes, {"params": q.params, **q.variables}, split)
    rows.rows += smaller.rows
    return Outcome(
        source.name,
        source.requested,
        rows,
        [
            Section(
                "Deterministic and mean field",
                "The mean-field net predicts by averaging the probabilities of sampled networks. "
                "NLL in nats per image.",
                table(
                    rows.where(route=tuple(routes.routes_of(bayes))),
                    routes.SCORES,
                    by=("route",),
                    across="method",
                ),
            ),
            routes.reliability_section(whole, split.test[1]),
            hardest_section(whole["mean field"], split),
            smaller_section(column_snr(bayes, q.params), smaller),
            *(routes.training_section(run, name) for name in fits),
            routes.structure_section(point),
        ],
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


def column_snr(net: BlockNet, params: Params) -> dict[int, float]:
    """Signal-to-noise of each column, all of its weights together."""
    return {
        c: float(group_snr(params, where=lambda path, _, c=c: f"column{c}_" in path))
        for c in net.columns
    }


def smaller_nets(net: BlockNet, variables: Variables, split: Split) -> Rows:
    """The Bayesian net without the paths or columns of least signal-to-noise, built and timed."""
    snr = column_snr(net, variables["params"])
    best = max(snr, key=lambda c: snr[c])
    smaller = {
        "all paths": (net, variables),
        "without a quarter of the join inputs": prune_paths(net, variables, 0.25),
        "without half of the join inputs": prune_paths(net, variables, 0.5),
        f"column {best} alone": keep_columns(net, variables, (best,)),
    }
    inputs = split.standardise(split.test[0])
    means = {
        name: (small, {**leaves, "params": jf.mean(leaves["params"])})
        for name, (small, leaves) in smaller.items()
    }
    times = milliseconds(means, inputs, num_rounds=20)
    rows = Rows()
    for name, (small, leaves) in means.items():
        prediction = routes.classify(
            small.apply, jf.Point(leaves), split, split.test[0], num_samples=1
        )
        accuracy = routes.scores(prediction, split.test[1])["accuracy"]
        flops = small.num_flops(inputs.shape[1:]) / 1e6
        rows.add({"mflops": flops, "milliseconds": times[name], "accuracy": accuracy}, net=name)
    return rows


def smaller_section(snr: dict[int, float], rows: Rows) -> Section:
    """What each net costs and is worth."""
    shown = ", ".join(f"{value:.2f} (column {c})" for c, value in snr.items())
    names = {"mflops": "MFLOP an image", "milliseconds": "milliseconds", "accuracy": "accuracy"}
    return Section(
        "Smaller nets by signal-to-noise",
        "Join inputs of the mean-field net with the smallest |mean| / standard deviation are taken "
        "out, then all columns but the surest, and the net that is left is built from the means. "
        f"Signal-to-noise: {shown}. Time of one pass over all test images, median of 20.",
        table(rows, names, by=("net",)),
    )
