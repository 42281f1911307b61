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

from dataclasses import dataclass, replace
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

import jfractal as jf
from experiments import _nets as nets
from experiments import _routes as routes
from experiments._images import Examples
from experiments._nets import ModelConfig, TrainConfig
from experiments.report import Outcome, Section, table
from experiments.run import Run
from experiments.settings import Count, Interval, OneOf, Rate, Settings, SourceConfig, presets
from jfractal.data import PADDING, UNKNOWN, TextData, Vocabulary
from jfractal.typing import KeyArray

TextSet = Annotated[str, OneOf(["rotten_tomatoes", "docstrings"])]
VocabularySize = Annotated[int, Interval(3)]  # a padding, an unknown one and a word
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # C of logistic regression, to choose from


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Which texts, how many, and how they become tokens."""

    name: TextSet = "rotten_tomatoes"  # Data set: rotten_tomatoes or docstrings.
    num_train: Count | None = None  # Training texts to keep; all if None.
    num_test: Count | None = None  # Validation and test texts to keep, of each; all if None.
    # Tokens: the most frequent words of the training texts, a padding and an unknown one.
    vocabulary_size: VocabularySize = 10_000
    length: Count = 48  # Tokens of a text; longer texts are cut off, shorter ones padded.


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


def run(config: Config, run: Run) -> Outcome:
    """Trains the net, then tests it at every depth, beside the bag of words."""
    source = load(config.data, config.seed)
    words = Vocabulary.of(source.train_texts, max_size=config.data.vocabulary_size)
    split = tokens(source, words, config)
    labels = split.test[1]
    net = text_net(config, len(words), len(source.class_names))
    variables = nets.train(config, run, net, split).variables
    every = (None, *net.columns)
    variables = nets.recalibrated(without_dropout(net), variables, split, routes=every)
    predictions = routes.test(net, jf.Point(variables), split)
    strength, baseline = bag_of_words(source)

    rows = routes.by_route(net, split, predictions)
    rows.add(routes.scores(baseline, labels), route="bag of words")
    lead, error = difference(predictions["whole net"], baseline, labels)
    rows.add({"beats_baseline": lead > 0, "lead": lead, "lead_standard_error": error})
    ours, theirs = (rows.values("accuracy", route=r)[0] for r in ("whole net", "bag of words"))
    return Outcome.of(
        source,
        rows,
        Section(
            "Against the bag of words",
            f"{verdict(ours, theirs, error)}\n\nThe bag of words is logistic regression on "
            f"TF-IDF of words and pairs of words, C = {strength:g} chosen on the validation texts.",
            table(rows, ("depth", "mflops", *routes.SCORES), by=("route",)),
        ),
        routes.training_section(run),
        routes.reliability_section({**predictions, "bag of words": baseline}, labels),
        routes.structure_section(net.net),
    )


@dataclass(frozen=True, eq=False)
class Tokens(Examples):
    """Texts as tokens, of which training makes some unknown, so that the net leans on none."""

    word_dropout: float

    def augment(self, key: KeyArray, examples: jax.Array) -> jax.Array:
        """Makes words of a batch unknown at random."""
        dropped = jax.random.bernoulli(key, self.word_dropout, examples.shape)
        return jnp.where(dropped & (examples != PADDING), UNKNOWN, examples)


def load(config: DataConfig, seed: int) -> TextData:
    """The texts that the settings ask for, or what stands in for them."""
    source = jf.data.load_texts(config.name, strict=config.strict)
    sizes = {"train": config.num_train, "validation": config.num_test, "test": config.num_test}
    kept = {}
    for part, size in sizes.items():
        texts, labels = getattr(source, f"{part}_texts"), getattr(source, f"{part}_labels")
        if size is not None and size < len(labels):
            _, chosen = jf.data.split_validation(labels, num_validation=size, seed=seed)
            kept[f"{part}_texts"] = tuple(texts[i] for i in chosen)
            kept[f"{part}_labels"] = labels[chosen]
    if not kept:
        return source
    source = replace(source, **kept)
    numbers = len(source.train_texts), len(source.test_texts)
    return replace(source, name="{}, subset of {:,} + {:,} texts".format(source.name, *numbers))


def tokens(source: TextData, words: Vocabulary, config: Config) -> Tokens:
    """The texts as tokens."""
    length = config.data.length
    return Tokens(
        (words.encode(source.train_texts, length), source.train_labels),
        (words.encode(source.validation_texts, length), source.validation_labels),
        (words.encode(source.test_texts, length), source.test_labels),
        config.embedding.word_dropout,
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


def bag_of_words(source: TextData) -> tuple[float, jf.Prediction]:
    """Logistic regression on TF-IDF of words and pairs of words.

    Returns:
        The inverse regularisation C that is most accurate on the validation texts, and the
        predictions for the test texts.
    """
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    train = vectorizer.fit_transform(source.train_texts)
    validation = vectorizer.transform(source.validation_texts)
    models = {
        strength: LogisticRegression(C=strength, max_iter=1000).fit(train, source.train_labels)
        for strength in STRENGTHS
    }
    best = max(models, key=lambda s: models[s].score(validation, source.validation_labels))
    log_probs = models[best].predict_log_proba(vectorizer.transform(source.test_texts))
    return best, jf.Prediction.of(jnp.asarray(log_probs, jnp.float32)[None])


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
