"""Images of the experiments: their number, split, augmentation and standardisation."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from experiments.ranges import Count, Natural, OneOf
from experiments.settings import SourceConfig
from jfractal.data import ImageData
from jfractal.typing import Array, KeyArray

WHITENED = 1000  # images that the whitening is measured on

ImageSet = Annotated[str, OneOf(["cifar10", "cifar100", "mnist", "fashion_mnist", "digits"])]


@dataclass(frozen=True)
class ImagesConfig(SourceConfig):
    """Which images, and how many."""

    # Data set: cifar10, cifar100, mnist, fashion_mnist or digits.
    name: ImageSet = "cifar10"
    num_train: Count | None = None  # Training images to keep, with those for validation; or all.
    num_test: Count | None = None  # Test images to keep; all if None.
    # Training images held out: every choice is made on them, none on the test set.
    num_validation: Count = 2500


@dataclass(frozen=True)
class DataConfig(ImagesConfig):
    """Images, and how they are augmented."""

    flip: bool = True  # Whether to mirror half of the training images (never done to digits).
    shift: Natural = 4  # Shift training images by up to this many pixels each way.
    # What moves in at the border of a shifted image: zeros, or its reflection.
    border: Literal["constant", "reflect"] = "constant"
    # Filters of a first layer that is computed, not trained: it whitens 4×4 patches of the
    # images, so that the net reads maps of half their height and width; 0: it reads pixels.
    whitening: Natural = 0


@dataclass(frozen=True, eq=False)
class Examples:
    """Training, validation and test examples with their labels, and how a net reads them."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an example as the net reads it."""
        return self.train[0].shape[1:]

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
    border: str = "constant"
    filters: jax.Array | None = None

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
        return cls(
            (images[train], labels[train]),
            (images[held_out], labels[held_out]),
            (source.test_images, source.test_labels),
            source,
            *jf.data.channel_moments(images[train]),
        )

    def augmented(self, config: DataConfig) -> "Split":
        """The same images, augmented in training as the settings say."""
        flip = config.flip and "digits" not in self.source.name
        return replace(
            self,
            flip=flip,
            shift=config.shift,
            border=config.border,
            filters=self._filters(config.whitening),
        )

    def _filters(self, most: int) -> jax.Array | None:
        """Whitening filters of the training images, as many as asked for or as there are."""
        if not most:
            return None
        pixels = self._pixels(self.train[0][:WHITENED])
        count = min(most, 16 * pixels.shape[-1])
        return jf.data.patch_whitening(pixels, num_filters=count)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.source.class_names)

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels of what the net reads."""
        return jax.eval_shape(self.standardise, self.train[0][:1]).shape[1:]

    def standardise(self, examples: Any) -> jax.Array:
        """Float images of mean 0 and standard deviation 1 over the training images, or their
        whitened patches.
        """
        return self._read(self._pixels(examples))

    def augment(self, key: KeyArray, examples: Any) -> jax.Array:
        """Standardises images, mirrors half of them and shifts all."""
        key_flip, key_shift = jax.random.split(key)
        images = self._pixels(examples)
        images = jf.data.random_flip(key_flip, images) if self.flip else images
        images = jf.data.random_shift(key_shift, images, pixels=self.shift, mode=self.border)
        return self._read(images)

    def _pixels(self, examples: Any) -> jax.Array:
        return jf.data.standardise(examples, self.mean, self.std)

    def _read(self, pixels: jax.Array) -> jax.Array:
        return pixels if self.filters is None else jf.data.whiten_patches(pixels, self.filters)


def load(config: ImagesConfig, seed: int) -> ImageData:
    """The images that the settings ask for, or what stands in for them."""
    source = jf.data.load_images(config.name, strict=config.strict)
    if config.num_train is None and config.num_test is None:
        return source
    return some(source, config.num_train, config.num_test, seed)


def some(source: ImageData, num_train: int | None, num_test: int | None, seed: int) -> ImageData:
    """As many of the images as are asked for, or as there are."""
    most_train, most_test = len(source.train_images), len(source.test_images)
    num_train = min(num_train or most_train, most_train)
    num_test = min(num_test or most_test, most_test)
    return jf.data.subset(source, num_train=num_train, num_test=num_test, seed=seed)


class Drawn(NamedTuple):
    """Standardised images drawn at random, anew for each seed."""

    x: Array
    y: Array
    x_test: Array
    y_test: np.ndarray


def draw(source: ImageData, num_train: int, num_test: int, seed: tuple[int, int]) -> Drawn:
    """Draws images; of two numbers of training images, the fewer are among the more.

    Raises:
        InputError: There are fewer training images.
    """
    if num_train > len(source.train_images):
        raise jf.InputError(
            f"the number of training images must be at most {len(source.train_images)}, all there "
            f"are, got {num_train}"
        )
    random = np.random.default_rng(seed)
    train = random.permutation(len(source.train_images))[:num_train]
    test = random.permutation(len(source.test_images))[:num_test]
    mean, std = jf.data.channel_moments(source.train_images)
    return Drawn(
        jf.data.standardise(source.train_images[train], mean, std),
        jnp.asarray(source.train_labels[train]),
        jf.data.standardise(source.test_images[test], mean, std),
        source.test_labels[test],
    )


def flat(images: Array) -> Array:
    """Images as a dense net reads them."""
    return images.reshape(len(images), -1)
