"""What the figures of the experiment hang on: which images it trains on."""

import numpy as np
import pytest

import jfractal as jf
from experiments import learned_depth
from experiments._images import Split

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


@pytest.mark.parametrize("size", [20, 30, 80])
def test_trains_on_a_part_with_equally_many_of_each_class(size):
    images, labels = learned_depth.subset(SPLIT, size, seed=0).train
    assert len(images) == len(labels) == len(np.unique(images)) == size
    assert (images[:, 0, 0, 0] % 10 == labels).all()
    assert (np.bincount(labels) == size // 10).all()


@pytest.mark.parametrize("size", [0, 81])
def test_sizes_out_of_range(size):
    with pytest.raises(jf.InputError, match=f"`sizes` must be between 1 and 80.* got {size}"):
        learned_depth.subset(SPLIT, size, seed=0)
