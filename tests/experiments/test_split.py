"""How the experiments hand images to a net."""

import jax
import numpy as np
import pytest

import jfractal as jf
from experiments._images import DataConfig, Split


@pytest.fixture(scope="module")
def split():
    return Split.load(DataConfig(name="digits", flip=False, shift=0, whitening=12), seed=0)


def test_the_net_reads_whitened_patches(split):
    images = split.train[0][:5]
    pixels = jf.data.standardise(images, split.mean, split.std)
    assert split.shape == (4, 4, 24)
    np.testing.assert_array_equal(
        split.standardise(images), jf.data.whiten_patches(pixels, split.filters)
    )


def test_without_augmentation_training_reads_the_same(split):
    images = split.train[0][:5]
    np.testing.assert_array_equal(
        split.augment(jax.random.key(0), images), split.standardise(images)
    )


def test_filters_are_as_many_as_there_are():
    most = Split.load(DataConfig(name="digits", whitening=100), seed=0)
    assert most.shape == (4, 4, 32)


def test_filters_come_from_the_training_images_alone(split):
    """Other validation and test images change nothing."""
    pixels = jf.data.standardise(split.train[0][:1000], split.mean, split.std)
    expected = jf.data.patch_whitening(pixels, num_filters=12)
    np.testing.assert_array_equal(split.filters, expected)
