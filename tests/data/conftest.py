"""Tiny data sets in the publishers' format, and a machine without network or caches."""

import io

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image


@pytest.fixture(autouse=True)
def bare_machine(tmp_path, monkeypatch):
    """No JFRACTAL_DATA, an empty cache, a Hub that cannot be reached."""

    def unreachable(*args, **kwargs):
        raise LocalEntryNotFoundError("no network\nsecond line")

    monkeypatch.delenv("JFRACTAL_DATA", raising=False)
    monkeypatch.setenv("JFRACTAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)


@pytest.fixture
def data_directory(tmp_path, monkeypatch):
    """An empty directory that JFRACTAL_DATA names."""
    directory = tmp_path / "data"
    directory.mkdir()
    monkeypatch.setenv("JFRACTAL_DATA", str(directory))
    return directory


@pytest.fixture(scope="session")
def encode():
    """Pixels to the bytes of an image file."""

    def encode(pixels, image_format="PNG", **options):
        stream = io.BytesIO()
        Image.fromarray(pixels.squeeze()).save(stream, image_format, **options)
        return stream.getvalue()

    return encode


@pytest.fixture(scope="session")
def write_parquet():
    """Encoded images and labels to a parquet file with the publishers' columns."""

    def write(file, column, encoded, labels, label="label"):
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"bytes": data, "path": None} for data in encoded]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        columns = {column: pa.array(rows, kind), label: pa.array(labels, pa.int64())}
        pq.write_table(pa.table(columns), file)

    return write


@pytest.fixture
def write_cifar10(data_directory, encode, write_parquet):
    """Writes 20 + 10 random CIFAR-10 images in a format, and returns their pixels and labels."""

    def write(image_format="PNG", **options):
        folder = data_directory / "uoft-cs/cifar10/plain_text"
        rng = np.random.default_rng(0)
        written = {}
        for split, size in (("train", 20), ("test", 10)):
            pixels = rng.integers(0, 256, (size, 32, 32, 3), np.uint8)
            labels = np.arange(size) % 10
            encoded = [encode(image, image_format, **options) for image in pixels]
            write_parquet(folder / f"{split}-00000-of-00001.parquet", "img", encoded, labels)
            written[split] = pixels, labels
        return written

    return write
