"""Data sets, their splits, and the preprocessing and augmentation of images.

Reading data needs the extra: ``pip install 'jfractal[data]'``. Everything up to a batch is NumPy on
the host; augmentation is JAX, on the device.
"""

from jfractal.data.augmentation import channel_moments, random_flip, random_shift, standardise
from jfractal.data.curves import blundell_curve
from jfractal.data.images import (
    ImageData,
    cifar10,
    cifar100,
    digits,
    fashion_mnist,
    load_images,
    mnist,
)
from jfractal.data.sources import DataUnavailable, load_table
from jfractal.data.splits import hold_out_classes, split_validation, subset
from jfractal.data.tables import TableData, load_mushrooms, load_regression, standard_splits
from jfractal.data.texts import (
    PADDING,
    UNKNOWN,
    TextData,
    Vocabulary,
    docstrings,
    load_texts,
    rotten_tomatoes,
)
from jfractal.data.whitening import patch_whitening, whiten_patches

__all__ = [
    "PADDING",
    "UNKNOWN",
    "DataUnavailable",
    "ImageData",
    "TableData",
    "TextData",
    "Vocabulary",
    "blundell_curve",
    "channel_moments",
    "cifar10",
    "cifar100",
    "digits",
    "docstrings",
    "fashion_mnist",
    "hold_out_classes",
    "load_images",
    "load_mushrooms",
    "load_regression",
    "load_table",
    "load_texts",
    "mnist",
    "patch_whitening",
    "random_flip",
    "random_shift",
    "rotten_tomatoes",
    "split_validation",
    "standard_splits",
    "standardise",
    "subset",
    "whiten_patches",
]
