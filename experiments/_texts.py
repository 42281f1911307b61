"""Texts as tokens, and the bag of words that a net has to beat on them."""

from dataclasses import dataclass, replace
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

import jfractal as jf
from experiments._images import Examples
from experiments.ranges import Count, Interval, OneOf
from experiments.settings import SourceConfig
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


def tokens(source: TextData, words: Vocabulary, length: int, word_dropout: float) -> Tokens:
    """The texts as tokens."""
    return Tokens(
        (words.encode(source.train_texts, length), source.train_labels),
        (words.encode(source.validation_texts, length), source.validation_labels),
        (words.encode(source.test_texts, length), source.test_labels),
        word_dropout,
    )


def shuffled(split: Tokens, seed: int) -> Tokens:
    """Shuffles the words of each text; the padding stays at its end."""
    rng = np.random.default_rng(seed)

    def of(part: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        examples, labels = part
        places = np.where(examples == PADDING, 2.0, rng.random(examples.shape))
        return np.take_along_axis(examples, places.argsort(axis=1, kind="stable"), axis=1), labels

    return replace(
        split, train=of(split.train), validation=of(split.validation), test=of(split.test)
    )


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
