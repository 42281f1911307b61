import io
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jfractal.data.decoding import decode_images
from jfractal.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), np.uint8)
LABELS = (0, 9, 1, 2)


def decode(file, shape=(5, 6, 3)):
    return decode_images([file], column="img", shape=shape, num_classes=10)


@pytest.fixture
def png(encode):
    return encode(PIXELS[0])


@pytest.fixture
def write(tmp_path, write_parquet):
    """Writes the images with labels to a file and returns its path."""

    def write(encoded, labels=LABELS):
        write_parquet(tmp_path / "f.parquet", "img", encoded, labels)
        return tmp_path / "f.parquet"

    return write


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_decoded_to_the_last_bit(write, encode, channels):
    pixels = PIXELS[..., :channels]
    arrays = decode(write([encode(image) for image in pixels]), (5, 6, channels))
    np.testing.assert_array_equal(arrays["images"], pixels)
    np.testing.assert_array_equal(arrays["labels"], LABELS)
    assert arrays["images"].dtype == np.uint8 and arrays["labels"].dtype == np.int32
    assert arrays["lossy"].tolist() == []


def test_jpeg_is_decoded_as_pillow_does_and_known_as_such(write, encode):
    encoded = [encode(image, "JPEG") for image in PIXELS]
    expected = [np.asarray(Image.open(io.BytesIO(data))) for data in encoded]
    encoded[1] = encode(expected[1])
    arrays = decode(write(encoded))
    np.testing.assert_array_equal(arrays["images"], expected)
    assert arrays["lossy"].tolist() == ["JPEG"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda png: b"",
        lambda png: b"junk",
        lambda png: png[:40],
        lambda png: png[:60] + bytes(20) + png[80:],
        lambda png: None,
    ],
)
def test_damaged_image(write, png, damage):
    with pytest.raises(InputError, match=r"f\.parquet: image 2 cannot be decoded"):
        decode(write([png, png, damage(png), png]))


def test_image_of_another_size(write, png, encode):
    with pytest.raises(InputError, match=r"image 3 must have shape \(5, 6, 3\), has \(4, 6, 3\)"):
        decode(write([png, png, png, encode(PIXELS[0, :4])]))


@pytest.mark.parametrize("labels", [(0, 1, 2, 10), (0, -1, 2, 3), (0, None, 2, 3)])
def test_labels_out_of_range(write, png, labels):
    with pytest.raises(InputError, match="labels must be integers from 0 to 9"):
        decode(write([png] * 4, labels))


@pytest.mark.parametrize(
    "columns",
    [{"image": [{"bytes": b""}], "label": [1]}, {"img": [{"bytes": b""}]}, {"img": [b""]}],
)
def test_wrong_columns(tmp_path, columns):
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    with pytest.raises(InputError, match=r"must have the columns 'img\.bytes' and 'label'"):
        decode(tmp_path / "f.parquet")


def test_missing_pillow_names_the_extra(write, png, monkeypatch):
    file = write([png] * 4)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match=r"pip install 'jfractal\[data\]'"):
        decode(file)
