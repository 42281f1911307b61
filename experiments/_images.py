"""Images as the experiments take them: how many, split, augmented and standardised."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from experiments._source import SourceConfig
from jfractal.data import ImageData
from jfractal.typing import KeyArray


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
    """Training, validation and test examples with their labels, and how a net reads them."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    def standardise(self, examples: Any) -> jax.Array:
        """Examples as the net reads them: here as they are."""
        return jnp.asarray(examples)

    def augment(self, key: KeyArray, examples: Any) -> jax.Array:
        """A batch of training examples as the net reads them, on the device."""
        return self.standardise(examples)


@dataclass(frozen=True, eq=False)
class Split(Examples):
    """Training, validation and test images, raw, and the moments that standardise them."""

    source: ImageData
    mean: np.ndarray
    std: np.ndarray
    flip: bool = False
    shift: int = 0

    @classmethod
    def load(cls, config: DataConfig, seed: int) -> "Split":
        """The images that the settings ask for, or what stands in for them."""
        return cls.of(load(config, seed), config.num_validation, seed).augmented(config)

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

    def augmented(self, config: DataConfig) -> "Split":
        """The same images, augmented in training as the settings say."""
        flip = config.flip and "digits" not in self.source.name
        return replace(self, flip=flip, shift=config.shift)

    def standardise(self, examples: Any) -> jax.Array:
        """Float images of mean 0 and standard deviation 1 over the training images."""
        return jf.data.standardise(examples, self.mean, self.std)

    def augment(self, key: KeyArray, examples: Any) -> jax.Array:
        """Mirrors half of the images, shifts all of them and standardises them."""
        key_flip, key_shift = jax.random.split(key)
        images = self.standardise(examples)
        images = jf.data.random_flip(key_flip, images) if self.flip else images
        return jf.data.random_shift(key_shift, images, pixels=self.shift)


def load(config: ImagesConfig, seed: int) -> ImageData:
    """The images that the settings ask for, or what stands in for them."""
    source = jf.data.load_images(config.name, strict=config.strict)
    if config.num_train is None and config.num_test is None:
        return source
    num_train = min(config.num_train or len(source.train_images), len(source.train_images))
    num_test = min(config.num_test or len(source.test_images), len(source.test_images))
    return jf.data.subset(source, num_train=num_train, num_test=num_test, seed=seed)
