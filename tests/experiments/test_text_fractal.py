import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from experiments._texts import Tokens, bag_of_words, load, shuffled
from experiments.text_fractal import BAG, PRESETS, difference, verdict
from jfractal.data import PADDING, UNKNOWN, TextData

QUICK = PRESETS["quick"]


def tokens(rate):
    nothing = np.zeros((0, 1)), np.zeros(0)
    return Tokens(nothing, nothing, nothing, rate)


def test_word_dropout_spares_the_padding(getkey):
    texts = jnp.array([[5, 6, 7, 8] * 500 + [PADDING] * 100])
    dropped = tokens(0.25).augment(getkey(), texts)
    np.testing.assert_array_equal(dropped[:, 2000:], PADDING)
    words = dropped[:, :2000]
    assert abs((words == UNKNOWN).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 2000)
    assert jnp.all((words == UNKNOWN) | (words == texts[:, :2000]))
    np.testing.assert_array_equal(tokens(0.0).augment(getkey(), texts), texts)


def test_shuffled_texts_keep_their_words_and_their_padding():
    texts = np.arange(2, 42).reshape(2, 20)
    texts[:, 15:] = PADDING
    part = texts, np.array([0, 1])
    twin = shuffled(Tokens(part, part, part, 0.2), seed=0)
    for examples, labels in (twin.train, twin.validation, twin.test):
        np.testing.assert_array_equal(labels, part[1])
        np.testing.assert_array_equal(examples[:, 15:], PADDING)
        np.testing.assert_array_equal(np.sort(examples[:, :15]), texts[:, :15])
        assert (examples[:, :15] != texts[:, :15]).any(axis=1).all()
    assert (np.diff(twin.train[0][:, :15] - twin.train[0][:, :1]) != 1).any()
    orders = [np.argsort(row[:15]) for row in twin.train[0]]
    assert (orders[0] != orders[1]).any()  # each text has an order of its own


def test_subset_is_named_one():
    source = load(QUICK.data, seed=0)
    assert source.name.endswith("subset of 200 + 100 texts")
    for labels, size in (
        (source.train_labels, 200),
        (source.validation_labels, 100),
        (source.test_labels, 100),
    ):
        counts = np.bincount(labels)
        assert counts.sum() == size and max(counts) - min(counts) <= 2


def test_bag_of_words_learns_words():
    texts = ("a good film", "good fun", "bad film", "a bad idea") * 5
    labels = np.array([1, 1, 0, 0] * 5, np.int32)
    unseen, truth = ("good idea", "bad fun"), np.array([1, 0], np.int32)
    source = TextData("", "", texts, labels, unseen, truth, unseen, truth, ("bad", "good"))
    strength, prediction = bag_of_words(source)
    np.testing.assert_array_equal(prediction.probs.argmax(-1), truth)
    np.testing.assert_allclose(prediction.probs.sum(-1), 1, rtol=1e-6)
    assert strength == 0.1  # all are equally accurate: the strongest regularisation


def prediction_of(classes):
    return jf.Prediction.of(jax.nn.log_softmax(5.0 * jax.nn.one_hot(jnp.array(classes), 2))[None])


def test_difference_by_hand():
    labels = np.zeros(4, int)
    ours, theirs = prediction_of([0, 0, 0, 1]), prediction_of([1, 0, 1, 1])
    # Right where the other is wrong: 1, 0, 1, 0; mean 1/2, deviation 1/2.
    assert difference(ours, theirs, labels) == (0.5, 0.25)
    assert difference(theirs, ours, labels) == (-0.5, 0.25)


def test_verdict_claims_no_more_than_there_is():
    said = verdict(BAG, 0.78, 0.76, 0.005)
    assert "beats the bag of words: 78.0% " in said
    assert "+2.0 points is more than twice its standard error of 0.5" in said
    said = verdict(BAG, 0.78, 0.76, 0.013)
    assert "is no more than twice its standard error of 1.3" in said
    for ours in (0.76, 0.75):
        assert "does not beat the bag of words" in verdict(BAG, ours, 0.76, 0.01)
