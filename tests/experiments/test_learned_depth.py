"""What the figures of the experiment hang on: which images it trains on."""

import numpy as np
import pytest

import jfractal as jf
from experiments import learned_depth
from experiments._classification import Split

LABELS = np.arange(80, dtype=np.int32) % 10
IMAGES = np.arange(80, dtype=np.uint8)[:, None, None, None]
SPLIT = Split(
    train=(IMAGES, LABELS),
    validation=(IMAGES, LABELS),
    test=(IMAGES, LABELS),
    source=jf.data.digits(),
    mean=np.zeros(1),
    std=np.ones(1),
)


@pytest.mark.parametrize("size", [1, 30, 80])
def test_few_images_are_repeated_in_turn(size):
    images, labels = learned_depth.subset(SPLIT, size, seed=0).train
    assert len(images) == len(labels) == 80
    values, counts = np.unique(images, return_counts=True)
    assert len(values) == size and counts.max() - counts.min() <= 1
    assert len(np.unique(images[:size])) == size  # the first ones are all there are
    assert (images[:, 0, 0, 0] % 10 == labels).all()


@pytest.mark.parametrize("size", [0, 81])
def test_sizes_out_of_range(size):
    with pytest.raises(jf.InputError, match=f"`sizes` must be between 1 and 80.* got {size}"):
        learned_depth.subset(SPLIT, size, seed=0)
