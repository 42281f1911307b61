"""Decoding of images in parquet files to arrays."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jfractal.data.cache import Arrays
from jfractal.data.sources import data_extra, read_table
from jfractal.errors import InputError

__all__ = ["decode_images"]


def decode_images(
    files: Sequence[Path],
    *,
    column: str,
    shape: tuple[int, int, int],
    num_classes: int,
    label: str = "label",
) -> Arrays:
    """Reads labelled images, all of one shape.

    Args:
        files: Parquet files with the columns `column` (a struct with the field ``bytes``, as the
            Hugging Face Hub stores images) and `label`.
        column: Name of the column of images.
        shape: Height, width and channels (1 or 3) that every image must have.
        num_classes: Number of classes; labels must be from 0 to `num_classes` − 1.
        label: Name of the column of labels.

    Returns:
        "images" (uint8, NHWC), "labels" (int32), and "lossy", the names of all lossy image formats
        among the images ("JPEG", ...), recognised by the first bytes of each image.

    Raises:
        InputError: If a file, a column, an image or a label is not as described.
    """
    where = ", ".join(map(str, files))
    encoded, labels = _columns(files, column, label, where)
    if not set(labels.tolist()) <= set(range(num_classes)):
        raise InputError(f"{where}: labels must be integers from 0 to {num_classes - 1}")
    images = np.empty((len(encoded), *shape), np.uint8)
    lossy = set()
    # One thread: Pillow holds the interpreter's lock for most of the time that so small an image
    # takes, and a pool of threads was slower.
    for index, data in enumerate(encoded):
        try:
            pixels, image_format = _pixels(data, shape)
        # Damaged bytes raise whatever their decoder does: OSError, SyntaxError, struct.error, ...
        except Exception as error:
            if isinstance(error, InputError):
                raise InputError(f"{where}: image {index} {error}") from None
            raise InputError(f"{where}: image {index} cannot be decoded: {error}") from error
        images[index] = pixels
        if not _is_lossless(image_format, data):
            lossy.add(image_format)
    return {
        "images": images,
        "labels": labels.astype(np.int32),
        "lossy": np.array(sorted(lossy), str),
    }


def _columns(
    files: Sequence[Path], column: str, label: str, where: str
) -> tuple[list[bytes | None], np.ndarray]:
    table = read_table(files).flatten()
    try:
        return table[f"{column}.bytes"].to_pylist(), table[label].to_numpy()
    except KeyError as error:
        raise InputError(
            f"{where}: must have the columns '{column}.bytes' and '{label}', has "
            f"{table.schema.names}"
        ) from error


def _pixels(
    data: bytes | None, shape: tuple[int, int, int]
) -> tuple[UInt8[np.ndarray, "height width channels"], str]:
    with data_extra():
        from PIL import Image

    height, width, channels = shape
    with Image.open(io.BytesIO(data or b"")) as image:
        if image.size != (width, height):  # by its head, before memory is taken for its pixels
            raise InputError(f"must have shape {shape}, has {(*image.size[::-1], channels)}")
        pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"))
        return pixels.reshape(*pixels.shape[:2], channels), image.format or "unknown"


def _is_lossless(image_format: str, data: bytes | None) -> bool:
    # A WebP is lossless if its pixels are in a chunk of this name, after at most one other.
    return image_format == "PNG" or (image_format == "WEBP" and b"VP8L" in (data or b"")[:64])
