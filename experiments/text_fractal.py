"""A fractal net reads film reviews: sentences of Rotten Tomatoes, negative or positive.

This is the fractal net of images with one axis fewer: an embedding of every word, blocks of fractal
convolutions along the sentence, each followed by a max-pool by 2, and the mean over what is left of
the sentence. The net is trained from scratch with local and global drop-path, and predicts at every
depth. The baseline is what a deep net has to beat on a data set of this size: logistic regression
on a bag of words and pairs of words.

    make experiment NAME=text_fractal
    make experiment NAME=text_fractal ARGS="--data.name docstrings"    # needs no download

Laptop: three minutes on 2 CPU cores. Figures, and how the settings were chosen: docs/results.md.
"""

from dataclasses import dataclass

import numpy as np

import jfractal as jf
from experiments import _nets as nets
from experiments import _routes as routes
from experiments._nets import ModelConfig, TrainConfig
from experiments._texts import DataConfig, bag_of_words, load, tokens
from experiments.ranges import Count, Rate
from experiments.report import Outcome, Section, highest, table
from experiments.run import Run
from experiments.settings import Settings, presets
from jfractal.data import Vocabulary


@dataclass(frozen=True)
class EmbeddingConfig(Settings):
    """What stands before the fractal net."""

    features: Count = 64  # Size of the embedding of a word.
    dropout: Rate = 0.5  # Probability of dropping a feature of an embedded word in training.
    word_dropout: Rate = 0.2  # Probability of making a word unknown in training.


@dataclass(frozen=True)
class Config(nets.NetConfig):
    """Settings of `text_fractal`."""

    data: DataConfig = DataConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    model: ModelConfig = ModelConfig(
        columns=2, widths=(64,) * 3, dropout=(0.0,) * 3, drop_path_per="example"
    )
    train: TrainConfig = TrainConfig(
        "adam", batch_size=64, learning_rate=1e-3, weight_decay=1e-3, log_every=10
    )


PRESETS = presets(
    Config(),
    paper={
        "model": {"columns": 3, "widths": (128, 128, 128)},
        "embedding": {"features": 128},
        "train": {"num_epochs": 20},
    },
    quick={
        "data": {"name": "docstrings", "num_train": 200, "num_test": 100, "vocabulary_size": 500},
        "model": {"widths": (4,), "dropout": (0.0,)},
        "embedding": {"features": 8},
        "train": {"num_epochs": 2, "batch_size": 50, "log_every": 1},
    },
)

FINDING = highest("accuracy", "route", of="test accuracy")


def run(config: Config, run: Run) -> Outcome:
    """Trains the net, then tests it at every depth, beside the bag of words."""
    source = load(config.data, config.seed)
    words = Vocabulary.of(source.train_texts, max_size=config.data.vocabulary_size)
    split = tokens(source, words, config.data.length, config.embedding.word_dropout)
    labels = split.test[1]
    net = text_net(config, len(words), len(source.class_names))
    variables = nets.train(config, run, net, split).variables
    every = (None, *net.columns)
    variables = nets.recalibrated(without_dropout(net), variables, split, routes=every)
    predictions = routes.test(net, jf.Point(variables), split)
    strength, baseline = bag_of_words(source)

    rows = routes.by_route(net, split, predictions)
    rows.add(
        routes.scores(baseline, labels) | routes.spread(baseline, labels), route="bag of words"
    )
    lead, error = difference(predictions["whole net"], baseline, labels)
    rows.add({"beats_baseline": lead > 0, "lead": lead, "lead_standard_error": error})
    ours, theirs = (rows.values("accuracy", route=r)[0] for r in ("whole net", "bag of words"))
    return Outcome.of(
        source,
        rows,
        Section(
            "Against the bag of words",
            f"{verdict(ours, theirs, error)}\n\nThe bag of words is logistic regression on "
            f"TF-IDF of words and pairs of words, C = {strength:g} chosen on the validation texts. "
            f"{routes.INTERVALS}",
            table(rows, ("depth", "mflops", *routes.SCORES), by=("route",)),
        ),
        routes.training_section(run),
        routes.reliability_section({**predictions, "bag of words": baseline}, labels),
        routes.structure_section(net.net),
    )


def text_net(config: Config, vocabulary_size: int, num_classes: int) -> jf.TextNet:
    """The fractal net over an embedding."""
    net = nets.fractal_net(config, num_classes)
    embedding = config.embedding
    return jf.TextNet(net, vocabulary_size, embedding.features, embedding.dropout)


def without_dropout(net: jf.TextNet) -> jf.TextNet:
    """The net for measuring batch statistics: activations vary more while some are dropped.

    Source: Li et al., "Understanding the disharmony between dropout and batch normalization by
    variance shift", CVPR 2019.
    """
    blocks = net.net.clone(dropout=(0.0,) * len(net.net.dropout))
    return net.clone(net=blocks, dropout=0.0)


def difference(
    ours: jf.Prediction, theirs: jf.Prediction, labels: np.ndarray
) -> tuple[float, float]:
    """Difference of two accuracies on the same texts, and its standard error."""
    ours_right, theirs_right = (np.asarray(p.probs).argmax(-1) == labels for p in (ours, theirs))
    lead = ours_right.astype(float) - theirs_right
    return float(lead.mean()), float(lead.std() / np.sqrt(len(lead)))


def verdict(ours: float, theirs: float, error: float) -> str:
    """In words, whether the net beats the baseline, and how sure that is."""
    lead = ours - theirs
    outcome = "beats" if lead > 0 else "does not beat"
    sure = "more" if abs(lead) > 2 * error else "no more"
    return (
        f"The fractal net {outcome} the bag of words: {ours:.1%} of the test texts right against "
        f"{theirs:.1%}. The difference of {100 * lead:+.1f} points is {sure} than twice its "
        f"standard error of {100 * error:.1f}."
    )
