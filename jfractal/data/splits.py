"""Parts of a data set: validation examples, held-out classes, small subsets."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import UInt8

from jfractal.arguments import as_array, check_type, described
from jfractal.counts import check_counts
from jfractal.data.images import ImageData
from jfractal.errors import InputError
from jfractal.typing import Int

__all__ = ["hold_out_classes", "split_validation", "subset"]

MOST_SEED = 2**32 - 1  # of a `RandomState`

Indices = Int[np.ndarray, " chosen"]


def split_validation(
    labels: Int[np.ndarray, " examples"], *, num_validation: int, seed: int
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " validation"]]:
    """Sets validation examples aside, with the same share of every class (to one example).

    Args:
        labels: Class of each training example.
        num_validation: Number of examples to set aside.
        seed: Seed of the split; the same seed gives the same split.

    Returns:
        Indices of the examples for training, and of those for validation. Both ascend, are
        disjoint, and together cover all examples.

    Raises:
        InputError: If `labels` is not a vector of integers, `num_validation` is not between 1 and
            the number of examples minus 1, or `seed` is not between 0 and 2³² − 1.
    """
    labels = np.asarray(as_array("labels", labels))
    if labels.ndim != 1 or len(labels) < 2 or labels.dtype.kind not in "iu":
        raise InputError(
            f"`labels` must be a vector of at least 2 integers, got {described(labels)}"
        )
    check_counts(num_validation=num_validation)
    check_counts(0, MOST_SEED, seed=seed)
    if num_validation >= len(labels):
        raise InputError(
            f"`num_validation` must be between 1 and {len(labels) - 1}, got {num_validation}"
        )
    validation = _stratified(labels, num_validation, np.random.RandomState(seed))
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def subset(data: ImageData, *, num_train: int, num_test: int, seed: int) -> ImageData:
    """A subset for quick runs, with the same share of every class (to one image).

    Args:
        data: The whole data set.
        num_train: Number of training images to keep.
        num_test: Number of test images to keep.
        seed: Seed of the subset; the same seed gives the same subset.

    Returns:
        The subset, whose name says that it is a subset.

    Raises:
        InputError: If there are fewer images than asked for.
    """
    check_type("data", data, ImageData, "an ImageData")
    check_counts(0, MOST_SEED, seed=seed)
    check_counts(num_train=num_train, num_test=num_test)
    for argument, size, labels in (
        ("num_train", num_train, data.train_labels),
        ("num_test", num_test, data.test_labels),
    ):
        if not 1 <= size <= len(labels):
            raise InputError(f"`{argument}` must be between 1 and {len(labels)}, got {size}")
    random = np.random.RandomState(seed)
    train = _stratified(data.train_labels, num_train, random)
    test = _stratified(data.test_labels, num_test, random)
    return replace(
        data,
        name=f"{data.name}, subset of {num_train:,} + {num_test:,} images",
        train_images=data.train_images[train],
        train_labels=data.train_labels[train],
        test_images=data.test_images[test],
        test_labels=data.test_labels[test],
    )


def hold_out_classes(
    data: ImageData, classes: Sequence[int]
) -> tuple[ImageData, UInt8[np.ndarray, "held_out height width channels"]]:
    """Removes classes from training; their test images are then out of distribution.

    Args:
        data: The whole data set.
        classes: Labels of the classes to hold out.

    Returns:
        The data without these classes, with the others renumbered from 0 in their old order; and
        the test images of the held-out classes.

    Raises:
        InputError: If a class does not exist or is named twice, or fewer than two would remain.
    """
    check_type("data", data, ImageData, "an ImageData")
    num_classes = len(data.class_names)
    check_type("classes", classes, (list, tuple, range, np.ndarray), "a list of labels")
    for label in classes:
        check_counts(0, classes=label)
    if len(set(classes)) < len(classes) or not set(classes) <= set(range(num_classes)):
        raise InputError(
            f"`classes` must be distinct labels from 0 to {num_classes - 1}, got {list(classes)}"
        )
    if not 1 <= len(classes) <= num_classes - 2:
        raise InputError(
            f"`classes` must name 1 to {num_classes - 2} of the {num_classes} classes, "
            f"got {list(classes)}"
        )
    kept = ~np.isin(np.arange(num_classes), classes)
    renumbered = np.cumsum(kept, dtype=np.int32) - 1
    train, test = kept[data.train_labels], kept[data.test_labels]
    names = np.array(data.class_names)
    inside = replace(
        data,
        name=f"{data.name} without {', '.join(names[~kept])}",
        train_images=data.train_images[train],
        train_labels=renumbered[data.train_labels[train]],
        test_images=data.test_images[test],
        test_labels=renumbered[data.test_labels[test]],
        class_names=tuple(names[kept].tolist()),
    )
    return inside, data.test_images[~test]


def _stratified(
    labels: Int[np.ndarray, " examples"], size: int, random: np.random.RandomState
) -> Indices:
    """Systematic sampling: shuffle, sort by class, take evenly spaced places.

    A class with n of N examples gives ⌊size·n/N⌋ or ⌈size·n/N⌉ of them, each equally likely. It
    uses `RandomState`, because NumPy promises never to change its stream.
    """
    order = random.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    places = (2 * np.arange(size) + 1) * len(labels) // (2 * size)
    return np.sort(by_class[places])
