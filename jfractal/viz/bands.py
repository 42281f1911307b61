"""Predictive bands: regression on a line, one method beside the other."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jfractal.errors import InputError
from jfractal.typing import Float
from jfractal.viz.style import INK, PALETTE, colours, styled

__all__ = ["Band", "predictive_bands"]


class Band(NamedTuple):
    """A predictive distribution along a line, in the units of the target.

    Attributes:
        mean: Predictive mean, "points".
        lower95: 2.5 % quantile, "points".
        lower50: 25 % quantile, "points".
        upper50: 75 % quantile, "points".
        upper95: 97.5 % quantile, "points".
    """

    mean: Float[ArrayLike, " points"]
    lower95: Float[ArrayLike, " points"]
    lower50: Float[ArrayLike, " points"]
    upper50: Float[ArrayLike, " points"]
    upper95: Float[ArrayLike, " points"]


@styled
def predictive_bands(
    x_grid: Float[ArrayLike, " points"],
    methods: Mapping[str, Band],
    x_train: Float[ArrayLike, " train"],
    y_train: Float[ArrayLike, " train"],
    *,
    truth: Float[ArrayLike, " points"] | None = None,
) -> Figure:
    """Draws the mean with its 50 % and 95 % bands, one panel for each method, on shared axes.

    Args:
        x_grid: Where the bands are known, ascending, "points".
        methods: The band of each method by its name, which becomes the title of its panel.
        x_train: Inputs of the training data, "train".
        y_train: Targets of the training data, "train".
        truth: The function behind the data, "points".

    Returns:
        The figure.

    Raises:
        InputError: If there is no method, `x_grid` does not ascend, or lengths differ.
    """
