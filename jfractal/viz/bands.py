"""Predictive bands: regression along a line, one method next to the other."""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure

from jfractal.arguments import check_type, described
from jfractal.errors import InputError
from jfractal.typing import Float
from jfractal.viz.series import named, series
from jfractal.viz.style import INK, PALETTE, InlineFigure, styled

__all__ = ["Band", "predictive_bands"]

BAND = PALETTE[0]


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
    """Draws the mean with its 50 % and 95 % bands, one panel per method, on shared axes.

    Args:
        x_grid: The inputs at which bands are given, ascending, "points".
        methods: The band of each method by name; the name becomes the title of its panel.
        x_train: Inputs of the training data, "train".
        y_train: Targets of the training data, "train".
        truth: The noise-free function behind the data, "points".

    Returns:
        The figure.

    Raises:
        InputError: If there is no method, `x_grid` or the quantiles of a band do not ascend, a
            number is not finite, or lengths differ.
    """
    methods = named("methods", methods, "bands")
    x = series("x_grid", x_grid)
    if len(x) < 2 or np.any(np.diff(x) <= 0):
        raise InputError(f"`x_grid` must hold two or more ascending points, got {described(x)}")
    x_train, y_train = series("x_train", x_train), series("y_train", y_train)
    if x_train.shape != y_train.shape:
        raise InputError(
            f"`y_train` must have the shape of `x_train`, {x_train.shape}, got {y_train.shape}"
        )
    curves = {name: _curves(x, name, band) for name, band in methods.items()}
    truth = None if truth is None else _along(x, "truth", truth)
    figure = InlineFigure(figsize=(0.9 + 2.1 * len(methods), 2.3), layout="constrained")
    panels = figure.subplots(1, len(methods), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (name, band) in zip(panels, curves.items()):
        mean, lower95, lower50, upper50, upper95 = band
        axes.fill_between(x, lower95, upper95, color=BAND, alpha=0.2, linewidth=0, label="95 %")
        axes.fill_between(x, lower50, upper50, color=BAND, alpha=0.4, linewidth=0, label="50 %")
        axes.plot(x, mean, color=BAND, label="mean")
        if truth is not None:
            axes.plot(x, truth, color=INK, lw=0.8, linestyle="--", label="truth")
        axes.plot(x_train, y_train, ".", color=INK, markersize=3, alpha=0.7, label="data")
        axes.set_title(name)
        axes.set_xlabel("x")
        axes.set_xlim(x[0], x[-1])
    panels[0].set_ylabel("y")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _curves(x: np.ndarray, name: str, band: Band) -> list[np.ndarray]:
    check_type("methods", band, tuple, f"a mapping of names to a `Band` each, here of {name!r}")
    if len(band) != len(Band._fields):
        raise InputError(
            f"`methods` must hold the {len(Band._fields)} curves of a `Band` for {name!r}, got "
            f"{len(band)}"
        )
    mean, *quantiles = (_along(x, f"methods[{name!r}]", curve) for curve in band)
    if any(np.any(low > high) for low, high in pairwise(quantiles)):
        raise InputError(f"`methods` must have ascending quantiles, {name!r} has not")
    return [mean, *quantiles]


def _along(x: np.ndarray, name: str, values: ArrayLike) -> np.ndarray:
    values = series(name, values)
    if values.shape != x.shape:
        raise InputError(f"`{name}` must have shape {x.shape} as `x_grid`, got {values.shape}")
    return values
