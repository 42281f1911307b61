"""What full-batch HMC predicts for CIFAR-10: the published table beside the images it is of."""

import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

import jfractal as jf
from jfractal.data import ImageData

CIFAR10, FILE = "cifar10", "hmc/cifar10_resnet20_frn.npz"


def with_table(
    source: ImageData, *, num_train: int, num_test: int, strict: bool
) -> tuple[ImageData, np.ndarray | None]:
    """The first images of both parts, and the rows of the table for the test images among them.

    Returns:
        The images, and class probabilities ``test classes``; None in their place if there is no
        table of the images, which their note then says.

    Raises:
        InputError: If the table belongs to other data or another order of them, or if `strict` is
            set and there is no table.
    """
    table, note = None, source.note
    if source.name.startswith("CIFAR-10"):
        path = Path(os.environ.get("JFRACTAL_DATA") or ".") / FILE
        table, note = _table(path, source.test_labels, note, strict)
    source = replace(
        source,
        train_images=source.train_images[:num_train],
        train_labels=source.train_labels[:num_train],
        test_images=source.test_images[:num_test],
        test_labels=source.test_labels[:num_test],
        note=note,
    )
    return source, None if table is None else table[:num_test]


def _table(
    path: Path, labels: np.ndarray, note: str, strict: bool
) -> tuple[np.ndarray | None, str]:
    if path.is_file():
        return checked(jf.reference.load_probs(path), labels, path), note
    what = "The published table of HMC"
    remedy = f"set JFRACTAL_DATA to a directory that holds {FILE}"
    if strict:
        raise jf.InputError(f"{what} is not available: {remedy}")
    missing = f"{what} is not available, this is a run without distances to it; to get it, {remedy}"
    warnings.warn(f"{missing}.", UserWarning, stacklevel=3)
    return None, f"{note} {missing}.".strip()


def checked(table: np.ndarray, labels: np.ndarray, path: Path) -> np.ndarray:
    """The table, whose rows are those of the test images.

    Raises:
        InputError: It has another number of rows or classes, or is right no more often than chance.
    """
    shape = (len(labels), int(labels.max()) + 1)
    if table.shape != shape:
        raise jf.InputError(
            f"{path} must hold a row for each of {shape[0]:,} test images, of {shape[1]} classes, "
            f"got the shape {table.shape}"
        )
    accuracy, chance = float(np.mean(table.argmax(-1) == labels)), 1 / shape[1]
    if accuracy < 2 * chance:
        raise jf.InputError(
            f"{path} must have its rows in the order of the test images, but they are right for "
            f"{accuracy:.1%} of them, near the {chance:.0%} of chance"
        )
    return table
