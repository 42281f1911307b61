"""Images of another set, as a net reads its own: what it should be unsure about."""

from typing import NamedTuple

import numpy as np

import jfractal as jf
from experiments._images import ImagesConfig, Split
from experiments.report import is_version

NEAR = {"cifar10": "cifar100", "cifar100": "cifar10", "mnist": "fashion_mnist"}
NEAR |= {"fashion_mnist": "mnist"}
"""The set that is most like each set, without a class in common."""
FAR = {"cifar10": "fashion_mnist", "cifar100": "fashion_mnist", "mnist": "cifar10"}
FAR |= {"fashion_mnist": "cifar10"}
"""A set of other things in other colours."""


class Strangers(NamedTuple):
    """Images that the net was not trained for, and what they are."""

    title: str
    images: np.ndarray


def strangers(config: ImagesConfig, split: Split, most: int) -> dict[str, Strangers]:
    """Near and far strangers of a set, at most so many of each.

    Where the other set is not at hand, test images upside down are near, and noise is far.
    """
    images = split.test[0]
    noise = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    others = {
        "near": (NEAR, Strangers("the test images upside down", images[:, ::-1])),
        "far": (FAR, Strangers("uniform noise", noise)),
    }
    found = {}
    for which, (names, otherwise) in others.items():
        known = names.get(config.name)
        title, strange = (known and _other(known, config.strict, images.shape[1:])) or otherwise
        found[which] = Strangers(title, strange[:most])
    return found


def _other(name: str, strict: bool, shape: tuple[int, ...]) -> Strangers | None:
    """Test images of another set, or None where digits stand in for it."""
    source = jf.data.load_images(name, strict=strict)
    if not is_version(source.name, name):
        return None
    return Strangers(source.name, fitted(source.test_images, shape))


def fitted(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Images of another height, width and number of channels.

    A border of zeros is added, or cut away, evenly on both sides. Grey becomes three equal colours,
    and colours become their mean.
    """
    for axis, length in enumerate(shape[:2], start=1):
        more = length - images.shape[axis]
        ends = (abs(more) // 2, abs(more) - abs(more) // 2)
        if more >= 0:
            images = np.pad(images, [ends if i == axis else (0, 0) for i in range(4)])
        else:
            images = images.take(range(ends[0], ends[0] + length), axis)
    if images.shape[-1] != shape[-1]:
        grey = images.mean(-1, keepdims=True).round().astype(images.dtype)
        images = np.repeat(grey, shape[-1], axis=-1)
    return images
