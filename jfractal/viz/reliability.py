"""Reliability diagrams: are predictions with 80 % confidence right in 80 % of the cases?"""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from jfractal.arguments import check_type
from jfractal.errors import InputError
from jfractal.metrics import Reliability
from jfractal.viz.series import check_label, named, series
from jfractal.viz.style import GREY, INK, WARNING, InlineFigure, colours, styled

__all__ = ["reliability_diagram"]

Z = 1.959963984540054  # of 95 %


@styled
def reliability_diagram(
    reliability: Reliability | Mapping[str, Reliability], *, title: str = ""
) -> Figure:
    """Draws accuracy against confidence, bin by bin, and a histogram of confidence below.

    Solid bars are accuracies, each with Wilson's 95 % interval for the number of examples in the
    bin. The gap reaches from there to the mean confidence. Each panel states its
    ``ECE = Σ_k (n_k / n) |accuracy_k − confidence_k|``.

    Args:
        reliability: The result of `jfractal.metrics.reliability`, or several results by name, with
            one panel each. The names ``whole net``, ``column 1``, … have fixed colours.
        title: Heading of the whole figure.

    Returns:
        The figure.

    Raises:
        InputError: If there is no panel, or a panel has no examples.

    Source: Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", ICML 2017,
        figure 1.
    """
    alone = isinstance(reliability, Reliability)
    panels = {"": reliability} if alone else named("reliability", reliability, "diagrams")
    for name, bins in panels.items():
        _check(name, bins)
    check_label(title=title)
    colour = colours(panels)
    figure = InlineFigure(figsize=(0.6 + 1.9 * len(panels), 3.6), layout="constrained")
    axes = figure.subplots(
        2, len(panels), squeeze=False, sharex=True, sharey="row", height_ratios=(3, 1)
    )
    for (name, bins), (above, below) in zip(panels.items(), axes.T):
        _panel(above, below, name, bins, colour[name])
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("examples")
    figure.suptitle(title)
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(4, 2 * len(panels)),
    )
    return figure


def _check(name: str, bins: Reliability) -> None:
    check_type("reliability", bins, Reliability, "of `jfractal.metrics.reliability`")
    confidence, accuracy, count = (series("reliability", values) for values in bins)
    if not confidence.shape == accuracy.shape == count.shape:
        raise InputError(f"`reliability` must have one entry per bin everywhere, {name!r} has not")
    if np.any((confidence < 0) | (confidence > 1) | (accuracy < 0) | (accuracy > 1)):
        raise InputError(f"`reliability` must have rates in [0, 1], {name!r} has not")
    if count.sum() == 0 or np.any((count < 0) | (count % 1 != 0)):
        raise InputError(f"`reliability` must count at least one example, {name!r} has none")


def _wilson(share: np.ndarray, num: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of a probability, from the share of successes in `num` trials.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA
        1927.
    """
    centre, scale = share + Z**2 / (2 * num), 1 + Z**2 / num
    half = Z * np.sqrt(share * (1 - share) / num + (Z / (2 * num)) ** 2)
    return (centre - half) / scale, (centre + half) / scale


def _panel(above: Axes, below: Axes, name: str, bins: Reliability, colour: str):
    confidence, accuracy, count = map(np.asarray, bins)
    share = count / count.sum()
    gap = np.abs(accuracy - confidence)
    width = 1.0 / len(count)
    centre = (np.arange(len(count)) + 0.5) * width

    above.bar(centre, accuracy, 0.9 * width, color=colour, alpha=0.7, label="accuracy")
    above.bar(
        centre,
        gap,
        0.9 * width,
        bottom=np.minimum(accuracy, confidence),
        facecolor=to_rgba(WARNING, 0.15),
        edgecolor=WARNING,
        hatch="////",
        linewidth=0.6,
        label="gap",
    )
    filled = count > 0
    low, high = _wilson(accuracy[filled], count[filled])
    above.vlines(centre[filled], low, high, color=INK, linewidth=0.8, label="95 % interval")
    above.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--", label="calibrated")
    above.set(xlim=(0, 1), ylim=(0, 1))
    above.set_title(f"{name}\nECE {share @ gap:.3f}".strip())
    below.bar(centre, count, 0.9 * width, color=colour, alpha=0.7)
    below.set_xlabel("confidence")
