"""Decoded arrays kept on disk, so that a data set is decoded only once on a machine."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

__all__ = ["cache_directory", "cached_arrays"]

Arrays = dict[str, np.ndarray]

NAMES = "names of the arrays"

LAYOUT = b"2"  # of the arrays that are built; what was cached by another is built anew


def cache_directory() -> Path:
    """``$JFRACTAL_CACHE``, else ``$XDG_CACHE_HOME/jfractal``, else ``~/.cache/jfractal``."""
    if directory := os.environ.get("JFRACTAL_CACHE"):
        return Path(directory)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jfractal"


def cached_arrays(name: str, sources: Sequence[Path], build: Callable[[], Arrays]) -> Arrays:
    """``build()``, or its cached result for sources with the same bytes.

    The key is the content of the sources, not their path or date: a copy hits the cache, an
    edited file misses it. A cache that is damaged or cannot be written costs time, but never fails
    a run.

    Args:
        name: Name of the cached data, with which the file name begins.
        sources: The files from which `build` makes the arrays.
        build: Makes named arrays of plain dtypes.

    Returns:
        The named arrays.
    """
    file = cache_directory() / f"{name}-{_fingerprint(sources)}.npz"
    try:
        return _load(file)
    except Exception:  # a damaged file raises whatever its decoder meets, by where the damage is
        arrays = build()
    with contextlib.suppress(OSError):
        _save(file, arrays)
    return arrays


def _fingerprint(sources: Sequence[Path]) -> str:
    digest = hashlib.sha256(LAYOUT)
    for source in sources:
        with source.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def _load(file: Path) -> Arrays:
    with file.open("rb") as stream, np.load(stream) as stored:
        arrays = dict(stored)
    if arrays.pop(NAMES).tolist() != [*arrays]:  # a damaged archive may have lost some of them
        raise ValueError(f"{file} lacks arrays")
    return arrays


def _save(file: Path, arrays: Arrays) -> None:
    """Writes a temporary file and renames it, so that other processes never see half a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(dir=file.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays, **{NAMES: np.array([*arrays])})
        os.replace(part, file)
    finally:
        Path(part).unlink(missing_ok=True)
