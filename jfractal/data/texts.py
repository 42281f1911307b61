"""Data sets of labelled texts, in memory, and their words as numbers."""

import importlib
import platform
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata

import numpy as np
from jaxtyping import Int32

from jfractal.arguments import as_strings, check_choice, check_type
from jfractal.counts import check_counts
from jfractal.data.sources import DataUnavailable, load_table
from jfractal.data.splits import split_validation
from jfractal.errors import InputError
from jfractal.summary import summary

__all__ = [
    "PADDING",
    "UNKNOWN",
    "TextData",
    "Vocabulary",
    "docstrings",
    "load_texts",
    "rotten_tomatoes",
]

PADDING = 0
"""The token that pads the end of a text."""
UNKNOWN = 1
"""The token of every word outside the vocabulary."""


@dataclass(frozen=True, eq=False)
class TextData:
    """Texts with their labels, and their actual origin.

    Attributes:
        name: Name of the data set that was actually loaded; report it with every result.
        requested: The name that was asked for.
        train_texts: Training texts, one for each label.
        train_labels: Classes of the training texts, from 0.
        validation_texts: Validation texts, as `train_texts`.
        validation_labels: Classes of the validation texts, as `train_labels`.
        test_texts: Test texts, as `train_texts`.
        test_labels: Classes of the test texts, as `train_labels`.
        class_names: Name of each class.
        note: What a reader should know about the data, in a sentence or two; empty if nothing.
    """

    name: str
    requested: str
    train_texts: tuple[str, ...]
    train_labels: Int32[np.ndarray, " train"]
    validation_texts: tuple[str, ...]
    validation_labels: Int32[np.ndarray, " validation"]
    test_texts: tuple[str, ...]
    test_labels: Int32[np.ndarray, " test"]
    class_names: tuple[str, ...]
    note: str = ""

    __repr__ = summary


def load_texts(name: str, *, strict: bool = False) -> TextData:
    """The text data set with this name or, if it is not available, sentences from docstrings.

    Args:
        name: "rotten_tomatoes" or "docstrings".
        strict: Whether to raise an error, instead of warning and loading docstrings, if the data
            set is neither on this machine nor reachable.

    Returns:
        The texts. `TextData.name` says which they are, and `TextData.requested` is `name`.

    Raises:
        InputError: If the name is unknown, a file is broken, or `strict` and the data set is not
            available.
    """
    check_choice("name", name, ("rotten_tomatoes", "docstrings"))
    check_type("strict", strict, bool, "True or False")
    if name == "docstrings":
        return docstrings()
    try:
        return rotten_tomatoes()
    except DataUnavailable as error:
        remedy = (
            f"set JFRACTAL_DATA to a directory that holds {_ROTTEN_TOMATOES}/**/*.parquet "
            f"or connect to a network"
        )
        if strict:
            raise InputError(
                f"Rotten Tomatoes is not available: {remedy}, or use 'docstrings'"
            ) from error
        stand_in = docstrings()
        note = (
            f"Rotten Tomatoes is not available, this is {stand_in.name}; to get it, {remedy}. "
            f"{stand_in.note}"
        )
        warnings.warn(note, UserWarning, stacklevel=2)
        return replace(stand_in, requested=name, note=note)


# Film reviews

_ROTTEN_TOMATOES = "cornell-movie-review-data/rotten_tomatoes"
_NUM_REVIEWS = {"train": 8530, "validation": 1066, "test": 1066}


def rotten_tomatoes() -> TextData:
    """Rotten Tomatoes: 8,530 + 1,066 + 1,066 sentences of film reviews, negative or positive.

    Raises:
        DataUnavailable: If it is neither on this machine nor reachable.
        InputError: If one of its files is broken.

    References:
        Pang & Lee, Seeing stars, ACL 2005 (sentence polarity data set, version 1.0).
    """
    train, validation, test = parts = [_reviews(split) for split in _NUM_REVIEWS]
    departures = ", ".join(
        f"{len(labels):,} of {number:,} {split} texts"
        for (split, number), (_, labels) in zip(_NUM_REVIEWS.items(), parts)
        if len(labels) != number
    )
    name = f"Rotten Tomatoes ({departures})" if departures else "Rotten Tomatoes"
    note = f"{name} is not complete: figures do not quite compare." if departures else ""
    classes = ("negative", "positive")
    return TextData(name, "rotten_tomatoes", *train, *validation, *test, classes, note)


def _reviews(split: str) -> tuple[tuple[str, ...], Int32[np.ndarray, " texts"]]:
    table = load_table(_ROTTEN_TOMATOES, split)
    if not {"text", "label"} <= set(table.column_names):
        raise InputError(
            f"{_ROTTEN_TOMATOES} ({split}) must have the columns text and label, "
            f"has {', '.join(table.column_names)}"
        )
    texts, labels = table["text"].to_pylist(), table["label"].to_pylist()
    if not (
        all(label in (0, 1) for label in labels) and all(isinstance(text, str) for text in texts)
    ):
        raise InputError(f"{_ROTTEN_TOMATOES} ({split}): labels must be 0 or 1, and texts strings")
    return tuple(texts), np.array(labels, np.int32)


# Docstrings

_PACKAGES = {
    "NumPy": ("numpy", "linalg", "fft", "random", "polynomial", "ma"),
    "SciPy": ("scipy", "linalg", "special", "fft", "ndimage", "optimize", "interpolate", "spatial"),
}
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_QUOTATION = re.compile(r"[`*\"“”]|''|:[a-z:]+:(?=`)")
_PROSE = re.compile(r"[A-Z][A-Za-z ,;:'()-]+\.")  # no numbers, code or formulas
_GIVE_AWAY = re.compile(r"--| : |python|numpy|scipy|ndarray|\bnp\b", re.IGNORECASE)
_NUM_WORDS = range(6, 61)


def docstrings() -> TextData:
    """English sentences about Python, NumPy or SciPy, which are part of every installation.

    The class is the source of a sentence: the language reference (`pydoc_data.topics`), or a
    docstring of NumPy or of SciPy. Only prose of 6 to 60 words is kept, without numbers, code,
    quotation marks and the packages' own names. A repeated sentence counts once, or not at all if
    it occurs in two classes. All classes have the same number of sentences: 70 % for training and
    15 % each for validation and test. The split is fixed for given versions of the packages.

    Returns:
        About a thousand sentences of each class.
    """
    sources = {"Python": _language_reference()}
    sources |= {name: _package_docs(*modules) for name, modules in _PACKAGES.items()}
    found = {name: set(_sentences(docs)) for name, docs in sources.items()}
    times = Counter(sentence for sentences in found.values() for sentence in sentences)
    unique = [sorted(s for s in sentences if times[s] == 1) for sentences in found.values()]

    random = np.random.RandomState(0)
    size = min(map(len, unique))
    texts = [text for own in unique for text in random.permutation(own)[:size].tolist()]
    labels = np.repeat(np.arange(len(unique), dtype=np.int32), size)
    held_out = len(labels) * 15 // 100
    rest, test = split_validation(labels, num_validation=held_out, seed=0)
    train, validation = split_validation(labels[rest], num_validation=held_out, seed=1)
    train, validation, test = (
        (tuple(texts[i] for i in chosen), labels[chosen])
        for chosen in (rest[train], rest[validation], test)
    )
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {metadata.version(name)}" for name in _PACKAGES]
    name = f"docstrings ({', '.join(versions)})"
    note = "The sentences depend on the installed versions: compare figures only where they agree."
    return TextData(name, "docstrings", *train, *validation, *test, tuple(sources), note)


def _language_reference() -> Iterator[str]:
    from pydoc_data.topics import topics

    yield from topics.values()


def _package_docs(package: str, *subpackages: str) -> Iterator[str]:
    """Docstrings of a package's public functions, classes and their methods."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a name is deprecated is no concern of a reader
        for name in (package, *(f"{package}.{subpackage}" for subpackage in subpackages)):
            module = importlib.import_module(name)
            public = (getattr(module, public) for public in module.__all__)
            for thing in filter(callable, public):
                methods = vars(thing).values() if isinstance(thing, type) else ()
                docs = (getattr(each, "__doc__", None) for each in (thing, *methods))
                yield from (doc for doc in docs if isinstance(doc, str))


def _sentences(docs: Iterable[str]) -> Iterator[str]:
    for doc in docs:
        for paragraph in re.split(r"\n\s*\n", doc):
            for sentence in _SENTENCE_END.split(" ".join(paragraph.split())):
                sentence = _QUOTATION.sub("", sentence.replace("’", "'"))
                is_prose = _PROSE.fullmatch(sentence) and not _GIVE_AWAY.search(sentence)
                if is_prose and len(sentence.split()) in _NUM_WORDS:
                    yield sentence


# Tokens

_WORD = re.compile(r"'?\w+|[^\w\s]")


MOST_TOKENS = 100_000  # in a row


@dataclass(frozen=True)
class Vocabulary:
    """Words and their numbers: `PADDING`, `UNKNOWN`, then the known words from 2 on.

    A word is a run of lower-cased letters and digits, including an apostrophe before it (``it's``
    is two words, ``it`` and ``'s``). Every other character is a word by itself.

    Attributes:
        words: The known words.
    """

    words: tuple[str, ...]

    def __post_init__(self):
        if len(as_strings("words", self.words)) != len(set(self.words)):
            raise InputError("`words` must be distinct")

    @classmethod
    def of(cls, texts: Iterable[str], *, max_size: int) -> "Vocabulary":
        """The vocabulary of the most frequent words of some texts, with ties in alphabetical order.

        Args:
            texts: Training texts only, so that the vocabulary does not depend on the test texts.
            max_size: Number of tokens, `PADDING` and `UNKNOWN` included.

        Returns:
            A vocabulary of at most `max_size` tokens.

        Raises:
            InputError: If `max_size` is below 3, or `texts` are not strings.
        """
        check_counts(3, max_size=max_size)
        texts = as_strings("texts", texts)
        counts = Counter(word for text in texts for word in _WORD.findall(text.lower()))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(tuple(ranked[: max_size - 2]))

    def __len__(self) -> int:
        return len(self.words) + 2

    def encode(self, texts: Sequence[str], length: int) -> Int32[np.ndarray, "texts length"]:
        """Encodes texts as tokens, all of one length.

        Args:
            texts: Texts to encode.
            length: Number of tokens in a row. Longer texts are cut off, shorter ones padded at
                their end.

        Returns:
            Tokens, one row for each text.

        Raises:
            InputError: If `length` is below 1, or `texts` are not strings.
        """
        check_counts(most=MOST_TOKENS, length=length)
        texts = as_strings("texts", texts)
        numbers = {word: number for number, word in enumerate(self.words, start=2)}
        tokens = np.full((len(texts), length), PADDING, np.int32)
        for row, text in zip(tokens, texts):
            words = _WORD.findall(text.lower())[:length]
            row[: len(words)] = [numbers.get(word, UNKNOWN) for word in words]
        return tokens
