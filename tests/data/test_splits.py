import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jfractal.data import ImageData, hold_out_classes, split_validation, subset
from jfractal.errors import InputError

NAMES = ("ant", "bee", "cat", "dog")


def tiny(num_train=40, num_test=20):
    """Images whose pixels all hold their own number, in a fixed order of classes."""

    def part(size):
        numbers = np.arange(size, dtype=np.uint8)
        images = np.broadcast_to(numbers[:, None, None, None], (size, 2, 2, 1)).copy()
        return images, (numbers % 4).astype(np.int32)

    train_images, train_labels = part(num_train)
    test_images, test_labels = part(num_test)
    return ImageData("tiny", "tiny", train_images, train_labels, test_images, test_labels, NAMES)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.data())
def test_validation_split_is_a_stratified_partition(labels, data):
    labels = np.array(labels)
    size = data.draw(st.integers(1, len(labels) - 1))
    train, validation = split_validation(labels, num_validation=size, seed=0)
    assert len(validation) == size
    np.testing.assert_array_equal(np.sort(np.r_[train, validation]), np.arange(len(labels)))
    assert np.all(np.diff(train) > 0) and np.all(np.diff(validation) > 0)
    exact = size * np.bincount(labels, minlength=5) / len(labels)
    counts = np.bincount(labels[validation], minlength=5)
    assert np.all((counts >= np.floor(exact)) & (counts <= np.ceil(exact)))


def test_validation_split_depends_on_the_seed_alone():
    labels = np.arange(1000) % 10
    first, again, other = (
        split_validation(labels, num_validation=100, seed=seed)[1] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(np.bincount(labels[first]), np.full(10, 10))


def test_every_example_is_chosen_equally_often():
    labels = np.repeat([0, 1], [10, 30])
    chosen = [split_validation(labels, num_validation=8, seed=seed)[1] for seed in range(2000)]
    share = np.bincount(np.concatenate(chosen)) / 2000
    np.testing.assert_allclose(share, 0.2, atol=4 * np.sqrt(0.2 * 0.8 / 2000))


@pytest.mark.parametrize("size", [0, 10, 11])
def test_impossible_validation_split(size):
    with pytest.raises(InputError, match=rf"`num_validation` must be .*, got {size}"):
        split_validation(np.zeros(10, np.int32), num_validation=size, seed=0)


def test_subset_keeps_images_with_their_labels():
    small = subset(tiny(), num_train=8, num_test=4, seed=0)
    np.testing.assert_array_equal(small.train_images[:, 0, 0, 0] % 4, small.train_labels)
    np.testing.assert_array_equal(small.test_images[:, 0, 0, 0] % 4, small.test_labels)
    np.testing.assert_array_equal(np.bincount(small.train_labels), [2, 2, 2, 2])
    np.testing.assert_array_equal(np.bincount(small.test_labels), [1, 1, 1, 1])
    assert small.name == "tiny, subset of 8 + 4 images" and small.requested == "tiny"


@pytest.mark.parametrize(("num_train", "num_test", "wrong"), [(41, 4, "train"), (8, 0, "test")])
def test_impossible_subset(num_train, num_test, wrong):
    with pytest.raises(InputError, match=f"`num_{wrong}` must be "):
        subset(tiny(), num_train=num_train, num_test=num_test, seed=0)


def test_held_out_classes_are_gone_and_the_others_renumbered():
    inside, outside = hold_out_classes(tiny(), [2, 0])
    assert inside.name == "tiny without ant, cat"
    assert inside.class_names == ("bee", "dog")
    np.testing.assert_array_equal(np.unique(outside[:, 0, 0, 0] % 4), [0, 2])
    assert len(outside) == 10
    for images, labels in (
        (inside.train_images, inside.train_labels),
        (inside.test_images, inside.test_labels),
    ):
        np.testing.assert_array_equal(np.array([1, 3])[labels], images[:, 0, 0, 0] % 4)
    assert (len(inside.train_labels), len(inside.test_labels)) == (20, 10)


@pytest.mark.parametrize("classes", [[], [4], [-1], [1, 1], [0, 1, 2]])
def test_impossible_classes(classes):
    with pytest.raises(InputError, match="`classes` must"):
        hold_out_classes(tiny(), classes)
