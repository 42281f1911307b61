"""The examples that draws of the weights agree on most, and those that they agree on least."""

from typing import Any

import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jfractal.arguments import check_type
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.predictions import Prediction
from jfractal.typing import Float
from jfractal.viz.series import series
from jfractal.viz.style import INK, InlineFigure, styled

__all__ = ["extremes"]

ROWS = ("surest", "least sure")


@styled
def extremes(
    prediction: Prediction,
    images: Float[ArrayLike, "batch height width *channels"],
    *,
    num_images: int = 8,
) -> Figure:
    """Draws the images with the least and the most epistemic uncertainty, each with its class.

    The title of an image gives the most probable class and the mutual information of label and
    weights, ``I(y; w | x)``, in nats. The first row ascends, the second descends.

    Args:
        prediction: Prediction for the images.
        images: Images in grey, or with 1 or 3 channels, in any range. Each is scaled to its own
            range.
        num_images: Number of images in a row; all of them if there are fewer.

    Returns:
        The figure.

    Raises:
        InputError: If there is not one image for each prediction, an image is not finite, or the
            number of channels is neither 1 nor 3.
    """
    check_type("prediction", prediction, Prediction, "a `jf.Prediction`")
    check_counts(num_images=num_images)
    pixels = _pixels(images, len(prediction.log_probs))
    epistemic = np.asarray(prediction.epistemic)
    classes = np.asarray(prediction.log_probs).argmax(-1)
    order = np.argsort(epistemic, kind="stable")
    num = min(num_images, len(order))
    figure = InlineFigure(figsize=(0.4 + 0.85 * num, 2.4), layout="constrained")
    panels = figure.subplots(2, num, squeeze=False)
    for name, row, chosen in zip(ROWS, panels, (order[:num], order[::-1][:num])):
        for axes, i in zip(row, chosen):
            _panel(axes, pixels[i], f"{classes[i]}\n{epistemic[i]:.2g} nats")
        row[0].set_ylabel(name, color=INK)
    return figure


def _pixels(images: Any, num: int) -> np.ndarray:
    ndim = max(3, np.ndim(images))
    x = series("images", images, ndim=min(ndim, 4))
    if len(x) != num:
        raise InputError(f"`images` must be one for each of {num} predictions, got {len(x)}")
    x = x[..., None] if x.ndim == 3 else x
    if x.shape[-1] not in (1, 3):
        raise InputError(f"`images` must have 1 or 3 channels, got {x.shape[-1]}")
    low, high = (edge(x, axis=(1, 2, 3), keepdims=True) for edge in (np.min, np.max))
    return (x - low) / np.where(high > low, high - low, 1.0)


def _panel(axes: Axes, pixels: np.ndarray, title: str):
    axes.imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, fontsize=6, loc="center")
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)
