"""Data sets of labelled images, in memory."""

import warnings
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Int32, UInt8

from jfractal.arguments import check_choice, check_type
from jfractal.counts import check_counts
from jfractal.data.cache import Arrays, cached_arrays
from jfractal.data.decoding import decode_images
from jfractal.data.sources import DataUnavailable, data_extra, parquet_files
from jfractal.errors import InputError
from jfractal.summary import summary

__all__ = ["ImageData", "cifar10", "cifar100", "digits", "fashion_mnist", "load_images", "mnist"]


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images with their labels, and their actual origin.

    Attributes:
        name: Name of the data set that was actually loaded; report it with every result.
        requested: The name that was asked for.
        train_images: Training images with intensities 0 to 255, NHWC.
        train_labels: Classes of the training images, from 0.
        test_images: Test images, as `train_images`.
        test_labels: Classes of the test images, as `train_labels`.
        class_names: Name of each class.
        note: What a reader should know about the data, in a sentence; empty if nothing.
    """

    name: str
    requested: str
    train_images: UInt8[np.ndarray, "train height width channels"]
    train_labels: Int32[np.ndarray, " train"]
    test_images: UInt8[np.ndarray, "test height width channels"]
    test_labels: Int32[np.ndarray, " test"]
    class_names: tuple[str, ...]
    note: str = ""

    __repr__ = summary


@dataclass(frozen=True)
class _Published:
    """A set of images as its publisher describes it."""

    title: str
    dataset_id: str
    column: str
    shape: tuple[int, int, int]
    num_train: int
    num_test: int
    class_names: tuple[str, ...]
    label: str = "label"


MOST_PIXELS = 512  # along a side of enlarged digits

_DIGITS = tuple("0123456789")
_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus "
    "butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach "
    "couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster "
    "house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree "
    "motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear "
    "pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket "
    "rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar "
    "sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip "
    "turtle wardrobe whale willow_tree wolf woman worm "
)
_CLOTHES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"

_PUBLISHED = {
    "cifar10": _Published(
        "CIFAR-10", "uoft-cs/cifar10", "img", (32, 32, 3), 50_000, 10_000, tuple(_CIFAR10.split())
    ),
    "cifar100": _Published(
        "CIFAR-100",
        "uoft-cs/cifar100",
        "img",
        (32, 32, 3),
        50_000,
        10_000,
        tuple(_CIFAR100.split()),
        "fine_label",
    ),
    "mnist": _Published("MNIST", "ylecun/mnist", "image", (28, 28, 1), 60_000, 10_000, _DIGITS),
    "fashion_mnist": _Published(
        "Fashion-MNIST",
        "zalando-datasets/fashion_mnist",
        "image",
        (28, 28, 1),
        60_000,
        10_000,
        tuple(_CLOTHES.split(",")),
    ),
}


def load_images(name: str, *, strict: bool = False) -> ImageData:
    """The image data set with this name or, if it is not available, digits of its shape.

    Args:
        name: "cifar10", "cifar100", "mnist", "fashion_mnist" or "digits".
        strict: Whether to raise an error, instead of warning and loading digits, if the data set is
            neither on this machine nor reachable.

    Returns:
        The images. `ImageData.name` says which they are, and `ImageData.requested` is `name`.

    Raises:
        InputError: If the name is unknown, a file is broken, or `strict` and the data set is not
            available.
    """
    check_choice("name", name, [*_PUBLISHED, "digits"])
    check_type("strict", strict, bool, "True or False")
    if name == "digits":
        return digits()
    try:
        return _load(name)
    except DataUnavailable as error:
        published = _PUBLISHED[name]
        remedy = (
            f"set JFRACTAL_DATA to a directory that holds {published.dataset_id}/**/*.parquet "
            f"or connect to a network"
        )
        if strict:
            raise InputError(
                f"{published.title} is not available: {remedy}, or use 'digits'"
            ) from error
        height, _, channels = published.shape
        stand_in = digits(size=height, channels=channels)
        note = f"{published.title} is not available, this is {stand_in.name}; to get it, {remedy}."
        warnings.warn(note, UserWarning, stacklevel=2)
        return replace(stand_in, requested=name, note=note)


def cifar10() -> ImageData:
    """CIFAR-10: 50,000 + 10,000 colour photographs of 32×32 pixels, 10 kinds of thing.

    Raises:
        DataUnavailable: If it is neither on this machine nor reachable.
        InputError: If one of its files is broken.

    References:
        Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    return _load("cifar10")


def cifar100() -> ImageData:
    """CIFAR-100: 50,000 + 10,000 colour photographs of 32×32 pixels, 100 kinds of thing.

    Raises:
        DataUnavailable: If it is neither on this machine nor reachable.
        InputError: If one of its files is broken.

    References:
        Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    return _load("cifar100")


def mnist() -> ImageData:
    """MNIST: 60,000 + 10,000 grey handwritten digits of 28×28 pixels.

    Raises:
        DataUnavailable: If it is neither on this machine nor reachable.
        InputError: If one of its files is broken.

    References:
        LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998.
    """
    return _load("mnist")


def fashion_mnist() -> ImageData:
    """Fashion-MNIST: 60,000 + 10,000 grey pictures of 28×28 pixels, 10 kinds of clothing.

    Raises:
        DataUnavailable: If it is neither on this machine nor reachable.
        InputError: If one of its files is broken.

    References:
        Xiao et al., Fashion-MNIST, 2017, arXiv:1708.07747.
    """
    return _load("fashion_mnist")


def digits(size: int = 8, channels: int = 1) -> ImageData:
    """scikit-learn's handwritten digits, which need no network: 1437 + 360 of 8×8 pixels.

    Args:
        size: Side length in pixels. Above 8, the images are enlarged (bilinear).
        channels: Number of equal channels.

    Returns:
        The digits in one fixed split, with the same share of every class in both parts.

    Raises:
        InputError: If `size` is below 8 or `channels` below 1.
    """
    check_counts(8, most=MOST_PIXELS, size=size)
    check_counts(most=MOST_PIXELS, channels=channels)
    with data_extra():
        from PIL import Image
        from sklearn.datasets import load_digits
        from sklearn.model_selection import StratifiedShuffleSplit

    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    small = np.rint(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    resize = lambda image: Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    grey = np.stack([np.asarray(resize(image)) for image in small])
    images, labels = np.repeat(grey[..., None], channels, axis=-1), labels.astype(np.int32)
    train, test = next(
        StratifiedShuffleSplit(1, test_size=360, random_state=0).split(images, labels)
    )
    as_published = (size, channels) == (8, 1)
    return ImageData(
        name="digits" if as_published else f"digits (enlarged to {size}x{size}x{channels})",
        requested="digits",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        class_names=_DIGITS,
    )


def _load(name: str) -> ImageData:
    published = _PUBLISHED[name]
    train, test = _load_split(name, "train"), _load_split(name, "test")
    title, note = published.title, ""
    if departures := _departures(published, train, test):
        title = f"{title} ({departures})"
        note = f"{title} is not {published.title} as published: figures do not quite compare."
    return ImageData(
        name=title,
        requested=name,
        train_images=train["images"],
        train_labels=train["labels"],
        test_images=test["images"],
        test_labels=test["labels"],
        class_names=published.class_names,
        note=note,
    )


def _load_split(name: str, split: str) -> Arrays:
    published = _PUBLISHED[name]
    files = parquet_files(published.dataset_id, split)
    decode = partial(
        decode_images,
        files,
        column=published.column,
        shape=published.shape,
        num_classes=len(published.class_names),
        label=published.label,
    )
    return cached_arrays(f"{name}-{split}", files, decode)


def _departures(published: _Published, train: Arrays, test: Arrays) -> str:
    """Differences from the published files, which are complete and lossless."""
    lossy = sorted({*train["lossy"].tolist(), *test["lossy"].tolist()})
    departures = [f"{'/'.join(lossy)} copy"] if lossy else []
    for part, arrays, number in (
        ("training", train, published.num_train),
        ("test", test, published.num_test),
    ):
        if len(arrays["labels"]) != number:
            departures.append(f"{len(arrays['labels']):,} of {number:,} {part} images")
    return ", ".join(departures)
