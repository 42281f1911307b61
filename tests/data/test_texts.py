import re
import subprocess
import sys
import warnings
import zlib
from importlib import metadata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jfractal.data import (
    PADDING,
    UNKNOWN,
    DataUnavailable,
    Vocabulary,
    docstrings,
    load_texts,
    rotten_tomatoes,
)
from jfractal.errors import InputError

FOLDER = "cornell-movie-review-data/rotten_tomatoes"
REVIEWS = {
    "train": (["a fine film", "dull , dull , dull", "it's charming"], [1, 0, 1]),
    "validation": (["not bad"], [1]),
    "test": (["not good", "good"], [0, 1]),
}


@pytest.fixture
def write_reviews(data_directory):
    def write(**changed):
        for split, (texts, labels) in (REVIEWS | changed).items():
            file = data_directory / FOLDER / f"{split}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"text": texts, "label": labels}), file)

    return write


@pytest.fixture(scope="module")
def sentences():
    return docstrings()


def parts_of(data):
    yield data.train_texts, data.train_labels
    yield data.validation_texts, data.validation_labels
    yield data.test_texts, data.test_labels


# Rotten Tomatoes


def test_reviews_are_read_in_their_own_splits(write_reviews):
    write_reviews()
    data = load_texts("rotten_tomatoes", strict=True)
    for (texts, labels), (own_texts, own_labels) in zip(parts_of(data), REVIEWS.values()):
        assert texts == tuple(own_texts)
        np.testing.assert_array_equal(labels, own_labels)
    assert data.class_names == ("negative", "positive")


def test_a_part_is_not_passed_off_as_the_whole(write_reviews):
    write_reviews()
    data = rotten_tomatoes()
    missing = "3 of 8,530 train texts, 1 of 1,066 validation texts, 2 of 1,066 test texts"
    assert data.name == f"Rotten Tomatoes ({missing})"
    assert data.note.startswith(data.name)


def test_complete_reviews_need_no_note(write_reviews, monkeypatch):
    monkeypatch.setattr(
        "jfractal.data.texts._NUM_REVIEWS", {"train": 3, "validation": 1, "test": 2}
    )
    write_reviews()
    data = rotten_tomatoes()
    assert (data.name, data.requested, data.note) == ("Rotten Tomatoes", "rotten_tomatoes", "")


@pytest.mark.parametrize("labels", [[0, 2], [0, None]])
def test_labels_that_are_none(labels, write_reviews):
    write_reviews(test=(["good", "bad"], labels))
    with pytest.raises(InputError, match=r"rotten_tomatoes \(test\): labels must be 0 or 1"):
        load_texts("rotten_tomatoes")


def test_other_columns(data_directory):
    file = data_directory / FOLDER / "train.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.table({"review": ["good"], "label": [1]}), file)
    with pytest.raises(InputError, match="must have the columns text and label, has review, label"):
        load_texts("rotten_tomatoes")


def test_fallback_warns_once_and_tells_the_truth(sentences):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load_texts("rotten_tomatoes")
    (warning,) = caught
    assert warning.category is UserWarning
    assert data.requested == "rotten_tomatoes"
    assert data.name == sentences.name and data.train_texts == sentences.train_texts
    assert data.note == str(warning.message)
    assert data.note.startswith("Rotten Tomatoes is not available") and sentences.note in data.note


def test_strict_says_what_to_do():
    remedy = r"Rotten Tomatoes is not .*JFRACTAL_DATA.*network.*'docstrings'$"
    with pytest.raises(InputError, match=remedy):
        load_texts("rotten_tomatoes", strict=True)
    with pytest.raises(DataUnavailable):
        rotten_tomatoes()


def test_unknown_name():
    with pytest.raises(InputError, match=r"rotten_tomatoes, docstrings, got 'imdb'"):
        load_texts("imdb")


# Docstrings


def test_classes_are_equally_large_in_every_part(sentences):
    sizes = [np.bincount(labels) for _, labels in parts_of(sentences)]
    assert all(max(size) - min(size) <= 2 for size in sizes)
    total = np.sum(sizes, axis=0)
    assert len(set(total.tolist())) == 1 and len(total) == len(sentences.class_names) == 3
    assert total[0] > 500
    shares = [size.sum() / total.sum() for size in sizes]
    np.testing.assert_allclose(shares, [0.7, 0.15, 0.15], atol=0.01)
    assert all(len(texts) == len(labels) for texts, labels in parts_of(sentences))


def test_no_sentence_stands_twice(sentences):
    texts = [text for part, _ in parts_of(sentences) for text in part]
    assert len(set(texts)) == len(texts)


def test_sentences_are_prose_without_give_aways(sentences):
    for texts, _ in parts_of(sentences):
        for text in texts:
            assert re.fullmatch(r"[A-Z][A-Za-z ,;:'()-]+\.", text), text
            assert not re.search(r"python|numpy|scipy|\bnp\b", text.lower()), text
            assert 6 <= len(text.split()) <= 60


def test_sentences_stand_where_their_class_says(sentences):
    import pydoc_data.topics

    import scipy.optimize

    documents = {
        "Python": "\n".join(pydoc_data.topics.topics.values()),
        "NumPy": np.einsum.__doc__,
        "SciPy": scipy.optimize.minimize.__doc__,
    }
    for label, name in enumerate(sentences.class_names):
        document = re.sub(r"[`*\"“”]", "", documents[name].replace("’", "'"))
        document = " ".join(document.split())
        found = {
            int(y)
            for texts, labels in parts_of(sentences)
            for text, y in zip(texts, labels)
            if text in document
        }
        assert found == {label}


def test_name_tells_the_versions(sentences):
    versions = [f"{name} {metadata.version(name.lower())}" for name in ("NumPy", "SciPy")]
    assert sentences.name.endswith(f"{', '.join(versions)})")
    assert sentences.name.startswith("docstrings (Python 3.")
    assert "versions" in sentences.note


@pytest.mark.slow
def test_the_same_in_another_process(sentences):
    """Sets of strings are ordered differently there."""
    program = (
        "from jfractal.data import docstrings; import zlib; data = docstrings();"
        "print(zlib.crc32(repr((data.train_texts, data.test_texts)).encode()))"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(out) == zlib.crc32(repr((sentences.train_texts, sentences.test_texts)).encode())


# Vocabulary


def test_vocabulary_by_hand():
    texts = ["A film, a FILM!", "it's a bore", "bore?"]
    words = Vocabulary.of(texts, max_size=100)
    # a three times, bore and film twice, the rest once and in the order of their codes
    assert words.words == ("a", "bore", "film", "!", "'s", ",", "?", "it")
    assert len(words) == 10
    assert len(Vocabulary.of(texts, max_size=4)) == 4
    assert (PADDING, UNKNOWN) == (0, 1)


def test_tokens_by_hand():
    words = Vocabulary(("a", "film"))
    tokens = words.encode(["A fine film", "", "film a film a film"], 4)
    np.testing.assert_array_equal(tokens, [[2, 1, 3, 0], [0, 0, 0, 0], [3, 2, 3, 2]])
    assert tokens.dtype == np.int32


def test_vocabulary_out_of_range():
    with pytest.raises(InputError, match="`max_size` must be at least 3, got 2"):
        Vocabulary.of(["a"], max_size=2)
    with pytest.raises(InputError, match="`length` must be at least 1, got 0"):
        Vocabulary(()).encode(["a"], 0)
