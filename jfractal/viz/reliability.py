"""Reliability diagrams: is a class named with 80 % confidence right in 80 % of the cases?"""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jfractal.errors import InputError
from jfractal.metrics import Reliability
from jfractal.viz.style import GREY, colours, styled

__all__ = ["reliability_diagram"]

GAP = "#d62728"


@styled
def reliability_diagram(
    reliability: Reliability | Mapping[str, Reliability], *, title: str = ""
) -> Figure:
    """Draws accuracy against confidence, bin by bin, and below it how many examples there are.

    The bars are the accuracies, the hatching reaches from there to the mean confidence. Every
    panel states its ``ECE = Σ_k (n_k / n) |accuracy_k − confidence_k|``.

    Args:
        reliability: What `jfractal.metrics.reliability` returned, or several of them by name:
            one panel each, in columns' colours if the names are ``column 1``, ``column 2``, …
        title: Heading of the whole figure.

    Returns:
        The figure.

    Raises:
        InputError: If there is nothing to draw: no panel, or a panel without examples.

    Source: Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", ICML 2017,
        figure 1.
    """
    panels = {"": reliability} if isinstance(reliability, Reliability) else dict(reliability)
    colour = colours(panels)
    figure = Figure(figsize=(0.5 + 2.0 * len(panels), 3.1), layout="constrained")
    figure.suptitle(title, fontsize=9)
    axes = figure.subplots(
        2,
        len(panels),
        squeeze=False,
        sharex=True,
        sharey="row",
        height_ratios=(3, 1),
    )
    for (name, bins), (above, below) in zip(panels.items(), axes.T):
        _panel(above, below, name, bins, colour[name])
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("share of\nexamples")
    return figure


def _panel(above: Axes, below: Axes, name: str, bins: Reliability, colour: str):
    confidence, accuracy, count = map(np.asarray, bins)
    if count.sum() == 0:
        raise InputError(f"`reliability` must be of at least one example, got none for {name!r}")
    share = count / count.sum()
    gap = np.abs(accuracy - confidence)
    width = 1.0 / len(count)
    centre = (np.arange(len(count)) + 0.5) * width
    drawn = count > 0

    bars = {"width": 0.92 * width}
    above.bar(centre[drawn], accuracy[drawn], color=colour, label="accuracy", **bars)
    above.bar(
        centre[drawn],
        gap[drawn],
        bottom=np.minimum(accuracy, confidence)[drawn],
        label="gap",
        facecolor=(*_rgb(GAP), 0.15),
        edgecolor=GAP,
        linewidth=0.6,
        **bars,
    )
    above.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--", label="ideal")
    above.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    above.set_title(f"{name}\nECE {np.sum(share * gap):.3f}".strip())
    below.bar(centre, share, color=colour, label="count", **bars)
    below.set_xlabel("confidence")
