"""Tabular data sets, in memory: regression and mushrooms."""

import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jfractal.arguments import check_choice, check_type
from jfractal.counts import check_counts
from jfractal.data.sources import DataUnavailable, data_extra
from jfractal.errors import InputError
from jfractal.summary import summary
from jfractal.typing import Float, Int

__all__ = ["TableData", "load_mushrooms", "load_regression", "standard_splits"]


@dataclass(frozen=True, eq=False)
class TableData:
    """Rows of features with one target each, and their actual origin.

    Attributes:
        name: Name of the data set that was actually loaded; report it with every result.
        requested: The name that was asked for.
        features: Features as published, or one-hot for categories.
        targets: Targets in the units of the publisher; for mushrooms, 1 is edible and 0 poisonous.
        note: What a reader should know about the data, in a sentence; empty if nothing.
    """

    name: str
    requested: str
    features: Float[np.ndarray, "rows features"]
    targets: Float[np.ndarray, " rows"]
    note: str = ""

    __repr__ = summary


MOST_INDICES = 10**9  # that `standard_splits` gives, 8 GB

_FOLDERS = {
    "boston": "bostonHousing",
    "concrete": "concrete",
    "energy": "energy",
    "kin8nm": "kin8nm",
    "naval": "naval-propulsion-plant",
    "power": "power-plant",
    "protein": "protein-tertiary-structure",
    "wine": "wine-quality-red",
    "yacht": "yacht",
}

# File, column of the target, and columns that are no features: number, date, parts of the target.
_WITH_HEADER = {
    "airfoil": ("airfoil.csv", "target", ()),
    "bikesharing": ("bikesharing_hour.csv", "cnt", ("instant", "dteday", "casual", "registered")),
}


def load_regression(name: str, *, strict: bool = False) -> TableData:
    """The UCI regression data set with this name or, if not available, scikit-learn's diabetes.

    It reads ``$JFRACTAL_DATA/uci/<folder>/data.txt``. The files ``index_features.txt`` and
    ``index_target.txt`` in the same folder say what its columns are. These files are published with
    the standard splits, see `standard_splits`. Airfoil and bike sharing (hourly) are tables with a
    header, ``$JFRACTAL_DATA/bde/airfoil.csv`` and ``bikesharing_hour.csv``, as in the `bde`
    package.

    Args:
        name: "airfoil", "bikesharing", "boston", "concrete", "energy", "kin8nm", "naval", "power",
            "protein", "wine", "yacht" or "diabetes".
        strict: Whether to raise an error, instead of warning and loading diabetes, if the data set
            is not available.

    Returns:
        The rows in their published order.

    Raises:
        InputError: If the name is unknown, a file is broken, or `strict` and the data set is not
            available.
    """
    check_choice("name", name, [*_FOLDERS, *_WITH_HEADER, "diabetes"])
    check_type("strict", strict, bool, "True or False")
    if name == "diabetes":
        return _diabetes()
    try:
        return (_with_header if name in _WITH_HEADER else _with_indices)(name)
    except DataUnavailable as error:
        return _stand_in(name, _diabetes(), error, strict)


def load_mushrooms(*, strict: bool = False) -> TableData:
    """UCI's mushrooms, one-hot, edible or not; if not available, tumours, benign or not.

    It reads ``$JFRACTAL_DATA/uci/mushroom/agaricus-lepiota.data``: 8,124 rows of 22 categorical
    features, 117 features when one-hot. A missing value is a separate category. The substitute is
    scikit-learn's breast cancer data set, standardised.

    Args:
        strict: Whether to raise an error, instead of warning and loading the substitute.

    Returns:
        The rows in their published order; target 1 is edible (benign).

    Raises:
        InputError: If the file is broken, or `strict` and the file is not available.
    """
    check_type("strict", strict, bool, "True or False")
    file = "agaricus-lepiota.data"
    try:
        folder = _folder("uci/mushroom", file)
    except DataUnavailable as error:
        return _stand_in("mushroom", _tumours(), error, strict)
    rows = [line.split(",") for line in _text(folder / file).split()]
    if not rows or {len(row) for row in rows} != {23} or not {row[0] for row in rows} <= {"e", "p"}:
        raise InputError(
            f"{folder / file}: every line must have 23 entries, the first of them e or p"
        )
    table = np.array(rows)
    one_hot = [(column[:, None] == np.unique(column)) for column in table[:, 1:].T]
    features = np.concatenate(one_hot, axis=1).astype(np.float64)
    edible = (table[:, 0] == "e").astype(np.float64)
    return TableData("mushroom (UCI)", "mushroom", features, edible)


def standard_splits(
    num_rows: int, num_splits: int = 20
) -> tuple[Int[np.ndarray, "splits train"], Int[np.ndarray, "splits test"]]:
    """The standard train and test splits of UCI regression data sets.

    Published results are means over these splits. Each data set has one `RandomState(1)`, which
    draws a permutation for each split; the first 90 % of a permutation are for training.

    Args:
        num_rows: Number of rows of the data set, at least 2.
        num_splits: Number of splits; published results use 20, and 5 for protein.

    Returns:
        Row numbers for training and for testing, with one split on each line.

    Raises:
        InputError: If a number is too small.

    Source: Hernández-Lobato & Adams, ICML 2015; Gal & Ghahramani, ICML 2016 (their code).
    """
    check_counts(2, num_rows=num_rows)
    check_counts(num_splits=num_splits)
    if num_rows * num_splits > MOST_INDICES:
        raise InputError(
            f"`num_rows` times `num_splits` must be at most {MOST_INDICES:,}, got {num_rows} and "
            f"{num_splits}"
        )
    random = np.random.RandomState(1)
    orders = np.stack([random.choice(num_rows, num_rows, replace=False) for _ in range(num_splits)])
    num_train = round(0.9 * num_rows)
    return orders[:, :num_train], orders[:, num_train:]


def _with_indices(name: str) -> TableData:
    folder = _folder(f"uci/{_FOLDERS[name]}", "data.txt")
    rows, inputs, target = (
        _numbers(folder / file) for file in ("data.txt", "index_features.txt", "index_target.txt")
    )
    columns = range(rows.shape[1])
    if target.size != 1 or not {*inputs.flat, *target.flat} <= {*columns}:
        raise InputError(
            f"{folder}: index_features.txt and index_target.txt must name columns of data.txt, "
            f"numbers from 0 to {len(columns) - 1}, and one of them the target"
        )
    features = rows[:, inputs.ravel().astype(int)]
    return TableData(f"{name} (UCI)", name, features, rows[:, int(target.item())])


def _with_header(name: str) -> TableData:
    file, target, left_out = _WITH_HEADER[name]
    path = _folder("bde", file) / file
    header = _text(path).partition("\n")[0].strip().split(",")
    if missing := {target, *left_out} - {*header}:
        raise InputError(f"{path} must have a column {min(missing)!r}, got {header}")
    features = [i for i, column in enumerate(header) if column not in (target, *left_out)]
    columns = [*features, header.index(target)]
    rows = _numbers(path, delimiter=",", skiprows=1, usecols=columns)
    return TableData(f"{name} (UCI)", name, rows[:, :-1], rows[:, -1])


def _folder(folder: str, file: str) -> Path:
    directory = os.environ.get("JFRACTAL_DATA")
    if directory and not Path(directory).is_dir():
        raise InputError(f"JFRACTAL_DATA must name a directory, but {directory!r} is not one")
    path = Path(directory or ".") / folder
    if not directory or not (path / file).is_file():
        raise DataUnavailable(f"set JFRACTAL_DATA to a directory that holds {folder}/{file}")
    return path


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as text: {error}") from error


def _numbers(file: Path, **options: Any) -> Float[np.ndarray, "rows columns"]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an empty file, which is refused below
            numbers = np.loadtxt(file, ndmin=2, **options)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{file} cannot be read as a table of numbers: {reason}") from error
    if not numbers.size or not np.isfinite(numbers).all():
        raise InputError(f"{file} must hold numbers, all of them finite")
    return numbers


def _stand_in(requested: str, data: TableData, error: DataUnavailable, strict: bool) -> TableData:
    if strict:
        raise InputError(f"UCI {requested} is not available: {error}") from error
    note = f"UCI {requested} is not available, this is {data.name}; to get it, {error}."
    warnings.warn(note, UserWarning, stacklevel=3)
    return replace(data, requested=requested, note=note)


def _diabetes() -> TableData:
    with data_extra():
        from sklearn.datasets import load_diabetes

    features, targets = load_diabetes(return_X_y=True, scaled=False)
    rows = np.asarray(features), np.asarray(targets)
    return TableData("diabetes (scikit-learn)", "diabetes", *rows)


def _tumours() -> TableData:
    with data_extra():
        from sklearn.datasets import load_breast_cancer

    features, benign = map(np.asarray, load_breast_cancer(return_X_y=True))
    features = (features - features.mean(0)) / features.std(0)
    name = "breast cancer (scikit-learn)"
    return TableData(name, name, features, benign.astype(np.float64))
