"""A fractal net reads film reviews: sentences of Rotten Tomatoes, negative or positive.

This is the fractal net of images with one axis fewer: an embedding of every word, blocks of fractal
convolutions along the sentence, each followed by a max-pool by 2, and the mean over what is left of
the sentence. The net is trained from scratch with local and global drop-path, and predicts at every
depth. It has two baselines. Logistic regression on a bag of words and pairs of words is what a deep
net has to beat on a data set of this size. The same net, trained and tested on sentences with their
words shuffled, tells whether it reads their order at all.

    make experiment NAME=text_fractal
    make experiment NAME=text_fractal ARGS="--data.name docstrings"    # needs no download

Laptop: three minutes on 2 CPU cores. Figures, and how the settings were chosen: docs/results.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import jfractal as jf
from experiments import _nets as nets
from experiments import _routes as routes
from experiments._nets import ModelConfig, TrainConfig
from experiments._texts import DataConfig, Tokens, bag_of_words, load, shuffled, tokens
from experiments.ranges import Count, Rate
from experiments.report import Outcome, Section, highest, table
from experiments.rows import slug
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

IN_ORDER, SHUFFLED = "words in order", "shuffled words"
ORDERS: dict[str, Callable[[Tokens, int], Tokens]] = {
    IN_ORDER: lambda split, seed: split,
    SHUFFLED: shuffled,
}
BAG, TWIN = "bag of words", "net of shuffled words"


def run(config: Config, run: Run) -> Outcome:
    """Trains the net, then tests it at every depth, beside the bag of words."""
    source = load(config.data, config.seed)
    words = Vocabulary.of(source.train_texts, max_size=config.data.vocabulary_size)
    split = tokens(source, words, config.data.length, config.embedding.word_dropout)
    labels = split.test[1]
    net = text_net(config, len(words), len(source.class_names))
    found = {}
    for name in (cell["words"] for cell in run.each(words=ORDERS)):
        found[name] = trained(config, run, net, ORDERS[name](split, config.seed), name=slug(name))
    predictions, (shuffled_whole, *_) = found[IN_ORDER], found[SHUFFLED].values()
    strength, bag = bag_of_words(source)
    baselines = {BAG: bag, TWIN: shuffled_whole}

    rows, verdicts = routes.by_route(net, split, predictions), []
    for name, baseline in baselines.items():
        rows.add(routes.scores(baseline, labels) | routes.spread(baseline, labels), route=name)
        lead, error = difference(predictions["whole net"], baseline, labels)
        rows.add({"lead": lead, "lead_standard_error": error}, over=name)
        ours, theirs = (rows.values("accuracy", route=r)[0] for r in ("whole net", name))
        verdicts.append(verdict(name, ours, theirs, error))
    return Outcome.of(
        source,
        rows,
        Section(
            "Against the bag of words, and against shuffled words",
            "\n\n".join(verdicts) + f"\n\nThe bag of words is logistic regression on TF-IDF of "
            f"words and pairs of words, C = {strength:g} chosen on the validation texts. "
            f"{routes.INTERVALS}",
            table(rows, ("depth", "mflops", *routes.SCORES), by=("route",)),
        ),
        *(routes.training_section(run, slug(name)) for name in ORDERS),
        routes.reliability_section({**predictions, BAG: bag}, labels),
        routes.structure_section(net.net),
    )


def trained(
    config: Config, run: Run, net: jf.TextNet, split: Tokens, *, name: str
) -> dict[str, jf.Prediction]:
    """Predictions of a net trained on these texts, of the whole net first."""
    variables = nets.train(config, run, net, split, name=name).variables
    every = (None, *net.columns)
    variables = nets.recalibrated(without_dropout(net), variables, split, routes=every)
    return routes.test(net, jf.Point(variables), split)


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


def verdict(name: str, ours: float, theirs: float, error: float) -> str:
    """In words, whether the net beats a baseline, and how sure that is."""
    lead = ours - theirs
    outcome = "beats" if lead > 0 else "does not beat"
    sure = "more" if abs(lead) > 2 * error else "no more"
    return (
        f"The fractal net {outcome} the {name}: {ours:.1%} of the test texts right against "
        f"{theirs:.1%}. The difference of {100 * lead:+.1f} points is {sure} than twice its "
        f"standard error of {100 * error:.1f}."
    )
