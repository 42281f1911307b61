"""Arrays in files that may be damaged, forged or something else."""

import os
import warnings
from pathlib import Path

import numpy as np
from numpy.lib.format import MAGIC_PREFIX

from jfractal.errors import InputError

__all__ = ["read_arrays", "read_table", "write_file"]


def read_table(path: Path, name: str) -> np.ndarray:
    """The single array of an ``.npz`` or ``.npy``, or the numbers of a ``.csv``, with any header.

    Args:
        path: The file.
        name: The array to read where an ``.npz`` holds several.

    Raises:
        InputError: If the file cannot be read, or holds several arrays and none has that name.
    """
    if path.suffix == ".csv":
        return _read_csv(path)
    arrays = read_arrays(path)
    if name in arrays:
        return arrays[name]
    if len(arrays) != 1:
        raise InputError(
            f"`path`: {path} must hold one array, or one named {name!r}, got {sorted(arrays)}"
        )
    return next(iter(arrays.values()))


def _read_csv(path: Path) -> np.ndarray:
    try:
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        head = not all(map(_is_number, first.split(",")))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an empty table, which is refused below
            return np.loadtxt(path, delimiter=",", skiprows=int(head), ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(f"`path`: cannot read {path}: {error}") from error


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` by name, or the array of an ``.npy`` as ``array``.

    Raises:
        InputError: If the file is missing, truncated, forged, or of another kind.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX:
                # A map is refused if the file is shorter than its head claims, before memory is
                # taken for it.
                return {"array": np.array(np.load(path, mmap_mode="r"))}
            stream.seek(0)
            with np.load(stream) as archive:
                return dict(archive)
    except Exception as error:  # a damaged file raises whatever its decoder meets
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"`path`: cannot read {path}: {reason}") from error


def write_file(path: Path, content: bytes) -> None:
    """Writes a temporary file and renames it, so that a reader never sees half a file.

    Raises:
        InputError: If the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"`path`: cannot write to {path}: {error.strerror}") from error
