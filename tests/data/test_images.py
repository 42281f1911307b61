import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jfractal.data import (
    DataUnavailable,
    cifar10,
    cifar100,
    digits,
    fashion_mnist,
    load_images,
    mnist,
)
from jfractal.data.cache import cache_directory
from jfractal.errors import InputError

SHORT = "20 of 50,000 training images, 10 of 10,000 test images"


@pytest.mark.parametrize("options", [("PNG",), ("WEBP", "lossless")])
def test_cifar10_of_every_pixel(write_cifar10, options):
    written = write_cifar10(options[0], **dict.fromkeys(options[1:], True))
    data = cifar10()
    np.testing.assert_array_equal(data.train_images, written["train"][0])
    np.testing.assert_array_equal(data.train_labels, written["train"][1])
    np.testing.assert_array_equal(data.test_images, written["test"][0])
    np.testing.assert_array_equal(data.test_labels, written["test"][1])
    assert data.name == f"CIFAR-10 ({SHORT})"
    assert data.requested == "cifar10"
    assert data.class_names[0] == "airplane" and len(data.class_names) == 10


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP"])
def test_a_lossy_copy_is_not_passed_off_as_the_original(write_cifar10, image_format):
    write_cifar10(image_format)
    data = load_images("cifar10", strict=True)
    assert data.name == f"CIFAR-10 ({image_format} copy, {SHORT})"
    assert data.note.startswith(data.name)


def test_cifar100_has_its_fine_labels(data_directory, encode, write_parquet):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    for split in ("train", "test"):
        file = data_directory / f"uoft-cs/cifar100/cifar100/{split}-00000-of-00001.parquet"
        write_parquet(file, "img", [encode(x) for x in pixels], [0, 8, 99], "fine_label")
    data = cifar100()
    np.testing.assert_array_equal(data.test_labels, [0, 8, 99])
    assert [data.class_names[i] for i in data.test_labels] == ["apple", "bicycle", "worm"]


@pytest.mark.parametrize(
    ("load", "dataset_id", "name"),
    [
        (mnist, "ylecun/mnist", "MNIST"),
        (fashion_mnist, "zalando-datasets/fashion_mnist", "Fashion-MNIST"),
    ],
)
def test_grey_images(load, dataset_id, name, data_directory, encode, write_parquet):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
    for split in ("train", "test"):
        encoded = [encode(image) for image in pixels]
        write_parquet(data_directory / dataset_id / f"{split}.parquet", "image", encoded, [0, 1, 9])
    data = load()
    np.testing.assert_array_equal(data.train_images, pixels)
    np.testing.assert_array_equal(data.test_labels, [0, 1, 9])
    assert data.name.startswith(f"{name} (3 of 60,000 training images")


def test_second_load_reads_the_cache_and_an_edited_source_is_noticed(write_cifar10, monkeypatch):
    write_cifar10("PNG")
    first = cifar10()
    assert len(list(cache_directory().iterdir())) == 2
    with monkeypatch.context() as patch:
        patch.setattr("jfractal.data.images.decode_images", pytest.fail)
        second = cifar10()
    np.testing.assert_array_equal(first.train_images, second.train_images)
    assert second.name == first.name
    write_cifar10("JPEG")
    assert "JPEG" in cifar10().name


@pytest.mark.parametrize(
    ("name", "shape"),
    [("cifar10", (32, 32, 3)), ("mnist", (28, 28, 1)), ("fashion_mnist", (28, 28, 1))],
)
def test_fallback_warns_once_and_tells_the_truth(name, shape):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load_images(name)
    (warning,) = caught
    assert warning.category is UserWarning
    assert data.train_images.shape[1:] == shape
    assert data.name == f"digits (enlarged to {'x'.join(map(str, shape))})"
    assert data.requested == name
    assert data.note == str(warning.message)


def test_strict_says_what_to_do():
    with pytest.raises(InputError, match=r"CIFAR-10 is not .*JFRACTAL_DATA.*network.*'digits'$"):
        load_images("cifar10", strict=True)
    with pytest.raises(DataUnavailable):
        cifar10()


def test_broken_files_are_never_replaced_by_digits(write_cifar10, data_directory):
    write_cifar10()
    file = data_directory / "uoft-cs/cifar10/plain_text/test-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="not a complete parquet file"):
        load_images("cifar10")


def test_unknown_name():
    with pytest.raises(
        InputError, match=r"cifar10, cifar100, mnist, fashion_mnist, digits, got 'cifar'"
    ):
        load_images("cifar")


def test_digits_are_all_of_scikit_learns_in_a_stratified_split():
    data = load_images("digits")
    assert data.train_images.shape == (1437, 8, 8, 1)
    assert data.test_images.shape == (360, 8, 8, 1)
    assert (data.name, data.requested, data.note) == ("digits", "digits", "")
    images = np.concatenate([data.train_images, data.test_images])
    labels = np.concatenate([data.train_labels, data.test_labels])
    original, target = load_digits(return_X_y=True)
    ours = sorted((*x, y) for x, y in zip(images.reshape(-1, 64) / (255 / 16), labels, strict=True))
    theirs = sorted((*x, y) for x, y in zip(original, target, strict=True))
    np.testing.assert_allclose(ours, theirs, atol=0.04)  # half a step of 256
    share = np.bincount(data.test_labels) / np.bincount(target)
    np.testing.assert_allclose(share, 360 / 1797, atol=0.01)
    np.testing.assert_array_equal(digits().test_labels, data.test_labels)


def test_enlarged_digits_keep_order_mean_and_grey():
    small, large = digits(), digits(32, 3)
    np.testing.assert_array_equal(large.train_labels, small.train_labels)
    np.testing.assert_array_equal(large.train_images[..., 0], large.train_images[..., 2])
    # Each pixel becomes 4×4 pixels; bilinear interpolation keeps the mean away from the border.
    blocks = large.train_images[..., 0].reshape(-1, 8, 4, 8, 4).mean((2, 4))
    correlation = np.corrcoef(blocks.ravel(), small.train_images.ravel())[0, 1]
    assert correlation > 0.95


@pytest.mark.parametrize(("size", "channels"), [(7, 1), (8, 0)])
def test_impossible_digits(size, channels):
    with pytest.raises(InputError, match="must be at least"):
        digits(size, channels)
