"""Sources of tables: the user's directory, the Hugging Face cache, or the Hub."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jfractal.arguments import described
from jfractal.errors import InputError

if TYPE_CHECKING:
    import pyarrow

__all__ = ["DataUnavailable", "data_extra", "load_table", "parquet_files", "read_table"]

HUB_TIMEOUT = 3.0
"""Seconds to wait for the Hub's first answer: long for a network, short for a user without one."""


class DataUnavailable(LookupError):
    """The data set is neither on this machine nor reachable; a fallback may replace it."""


@contextmanager
def data_extra() -> Iterator[None]:
    """Turns the failed import of an optional package in the body into advice.

    Raises:
        InputError: If an import in the body does not find its package.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"reading data needs the package {error.name!r}: pip install 'jfractal[data]'"
        ) from error


def load_table(dataset_id: str, split: str) -> "pyarrow.Table":
    """One split of a data set as a table, by its public Hugging Face id.

    It looks in ``$JFRACTAL_DATA/<dataset_id>/**/<split>*.parquet`` first, then in the local Hugging
    Face cache, then on the Hub (``HF_HUB_OFFLINE`` is respected).

    Args:
        dataset_id: Id of the data set, for example ``"uoft-cs/cifar10"``.
        split: Name of the split, for example ``"train"``.

    Returns:
        All rows, in the order of the files.

    Raises:
        DataUnavailable: If the data set is in none of these places.
        InputError: If the data set is broken, ``JFRACTAL_DATA`` is not a directory, or `dataset_id`
            or `split` is not a name.
    """
    return read_table(parquet_files(dataset_id, split))


def parquet_files(dataset_id: str, split: str) -> tuple[Path, ...]:
    """The files of one split, in order, fetched from the Hub if needed; see `load_table`."""
    _check_name("dataset_id", dataset_id, _DATASET_ID)
    _check_name("split", split, _WORD)
    folder = _users_folder(dataset_id)
    if folder is None:
        return _hub_files(dataset_id, split)
    files = _files_of_split(folder, split)
    if not files:
        raise InputError(f"`split`: {folder} has parquet files but none of {split!r}")
    return files


_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_DATASET_ID = rf"({_WORD}/)?{_WORD}"


def _check_name(argument: str, name: Any, pattern: str) -> None:
    """Refuses names that are paths, which could lead outside the directory of the data."""
    if not isinstance(name, str) or not re.fullmatch(pattern, name):
        raise InputError(
            f"`{argument}` must be a name such as 'uoft-cs/cifar10' or 'train', got "
            f"{described(name)}"
        )


def read_table(files: Sequence[Path]) -> "pyarrow.Table":
    """Parquet files as one table.

    Raises:
        InputError: If a file cannot be read, or all files are empty.
    """
    with data_extra():
        import pyarrow
        import pyarrow.parquet

    tables = []
    for file in files:
        try:
            with pyarrow.parquet.ParquetFile(file) as parquet:
                tables.append(parquet.read())
            tables[-1].validate(full=True)
        except Exception as error:  # a damaged file raises whatever its decoder meets
            reason = str(error).partition("\n")[0]
            size = f"{file.stat().st_size} bytes" if file.is_file() else "missing"
            raise InputError(f"{file} ({size}) is not a complete parquet file: {reason}") from error
    try:
        table = pyarrow.concat_tables(tables)
    except pyarrow.ArrowException as error:
        reason = str(error).partition("\n")[0]
        names = ", ".join(map(str, files))
        raise InputError(f"{names} must have the same columns: {reason}") from error
    if table.num_rows == 0:
        raise InputError(f"{', '.join(map(str, files))}: no rows")
    return table


def _users_folder(dataset_id: str) -> Path | None:
    """The data set's folder under ``$JFRACTAL_DATA``, or None if it is missing or empty."""
    directory = os.environ.get("JFRACTAL_DATA")
    if not directory:
        return None
    if not Path(directory).is_dir():
        problem = "is not a directory" if Path(directory).exists() else "does not exist"
        raise InputError(f"JFRACTAL_DATA must name a directory, but {directory!r} {problem}")
    folder = Path(directory) / dataset_id
    return folder if any(folder.rglob("*.parquet")) else None


def _files_of_split(folder: Path, split: str) -> tuple[Path, ...]:
    """Files named ``train.parquet`` or, in shards, ``train-00000-of-00002.parquet``."""
    return tuple(
        path
        for path in sorted(folder.rglob("*.parquet"))
        if path.stem == split or path.stem.startswith(f"{split}-")
    )


def _hub_files(dataset_id: str, split: str) -> tuple[Path, ...]:
    with data_extra():
        from huggingface_hub import HfApi, snapshot_download

    fetch = partial(snapshot_download, dataset_id, repo_type="dataset", allow_patterns="*.parquet")

    def cached() -> str:
        return fetch(local_files_only=True)

    def downloaded() -> str:
        # `snapshot_download` waits without limit for a Hub that does not answer, so ask it first.
        HfApi().dataset_info(dataset_id, timeout=HUB_TIMEOUT)
        return fetch()

    reason = f"it has no split {split!r}"
    for snapshot in (cached, downloaded):
        try:
            files = _files_of_split(Path(snapshot()), split)
        # The client's network errors have no base class that all its releases share.
        except Exception as error:
            reason = str(error).partition("\n")[0]
        else:
            if files:
                return files
    raise DataUnavailable(
        f"{dataset_id} ({split}) is not under JFRACTAL_DATA, not in the Hugging Face cache "
        f"and did not come from the Hub: {reason}"
    )
