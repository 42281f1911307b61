"""Images as the experiments take them: how many, split, augmented and standardised."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from experiments._source import SourceConfig
from jfractal.data import ImageData


@dataclass(frozen=True)
class ImagesConfig(SourceConfig):
    """Which images, and how many."""

    name: str = "cifar10"
    """Data set: cifar10, cifar100, mnist, fashion_mnist or digits."""
    num_train: int | None = None
    """Training images to keep, validation images among them; all if None."""
    num_test: int | None = None
    """Test images to keep; all if None."""
    num_validation: int = 2500
    """Training images held out: every choice is made on them, none on the test set."""


@dataclass(frozen=True)
class DataConfig(ImagesConfig):
    """Images, and how they are augmented."""

    flip: bool = True
    """Whether to mirror half of the training images (never done to digits)."""
    shift: int = 4
    """Shift training images by up to this many pixels each way."""


PAPER = DataConfig(num_validation=5000)
QUICK = DataConfig(num_train=250, num_test=100, num_validation=50)


@dataclass(frozen=True, eq=False)
class Examples:
    """Training, validation and test examples with their labels."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    def standardise(self, examples: Any) -> jax.Array:
        """Examples as the net reads them: here as they are."""
        return jnp.asarray(examples)


@dataclass(frozen=True, eq=False)
class Split(Examples):
    """Training, validation and test images, raw, and the moments that standardise them."""

    source: ImageData
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, source: ImageData, num_validation: int, seed: int) -> "Split":
        """Holds validation images out of the training images, at most a fifth of them."""
        num_validation = min(num_validation, len(source.train_labels) // 5)
        images, labels = source.train_images, source.train_labels
        train, held_out = jf.data.split_validation(labels, num_validation=num_validation, seed=seed)
        mean, std = jf.data.channel_moments(images[train])
        return cls(
            (images[train], labels[train]),
            (images[held_out], labels[held_out]),
            (source.test_images, source.test_labels),
            source,
            mean,
            std,
        )

    def standardise(self, examples: Any) -> jax.Array:
        """Float images of mean 0 and standard deviation 1 over the training images."""
        return jf.data.standardise(examples, self.mean, self.std)


def load(config: ImagesConfig, seed: int) -> ImageData:
    """The images that the settings ask for, or what stands in for them."""
    source = jf.data.load_images(config.name, strict=config.strict)
    if config.num_train is None and config.num_test is None:
        return source
    num_train = min(config.num_train or len(source.train_images), len(source.train_images))
    num_test = min(config.num_test or len(source.test_images), len(source.test_images))
    return jf.data.subset(source, num_train=num_train, num_test=num_test, seed=seed)


def augmentation(split: Split, config: DataConfig) -> Callable[[jax.Array, Any], jax.Array]:
    """Augments and standardises a batch of training images, on the device."""
    flip = config.flip and "digits" not in split.source.name

    def augment(key: jax.Array, images: Any) -> jax.Array:
        key_flip, key_shift = jax.random.split(key)
        images = split.standardise(images)
        images = jf.data.random_flip(key_flip, images) if flip else images
        return jf.data.random_shift(key_shift, images, pixels=config.shift)

    return augment
