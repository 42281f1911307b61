"""The rows of a table for training, validation and test, standardised."""

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from jfractal.data import TableData
from jfractal.typing import Array

TEST, VALIDATION = 0.2, 0.15  # shares, of all rows and of those for training


class Fold(NamedTuple):
    """Inputs and targets of one split of a table, in units of its training rows."""

    train: tuple[Array, Array]  # what posteriors are conditioned on
    fitted: tuple[Array, Array]  # the part of it that nets are trained on
    validation: tuple[Array, Array]  # the rest of it
    judged: tuple[Array, Array]  # what is predicted

    @classmethod
    def of(cls, source: TableData, judged: Literal["test", "validation"]) -> "Fold":
        """The split of the `bde` benchmark, or one of its training rows that looks like it."""
        train, test = parted(len(source.targets), TEST)
        if judged == "validation":
            inner, outer = parted(len(train), TEST)
            train, test = train[inner], train[outer]
        table = np.concatenate([source.features, source.targets[:, None]], axis=1)
        mean, scale = table[train].mean(0), table[train].std(0)
        table = jnp.asarray((table - mean) / np.where(scale > 0, scale, 1), jnp.float32)
        inner, outer = parted(len(train), VALIDATION)
        parts = train, train[inner], train[outer], test
        return cls(*((table[rows, :-1], table[rows, -1:]) for rows in parts))


def parted(num_rows: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows that stay, and a share that does not: scikit-learn's `train_test_split` of seed 0."""
    order = np.random.RandomState(0).permutation(num_rows)
    number = int(np.ceil(share * num_rows))
    return order[number:], order[:number]
