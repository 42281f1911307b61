"""How figures, moments and durations are written for people."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from numbers import Integral, Real
from typing import Any

import numpy as np

Cell = float | int | str | bool

LABELS = {
    "nll": "NLL (nats)",
    "nll_mixture": "NLL of the mixture (nats)",
    "rhat_median": "R-hat, median",
    "rhat_largest": "R-hat, largest",
    "nll_gap": "gap of the NLL (nats)",
    "rmse": "RMSE",
    "ece": "ECE",
    "auroc": "AUROC",
    "auroc_epistemic": "AUROC, epistemic",
    "auroc_near": "AUROC, near",
    "auroc_far": "AUROC, far",
    "coverage_nested": "coverage, nested",
    "classes_nested": "classes, nested",
    "aupr": "AUPR",
    "fpr95": "FPR95",
    "aurc": "AURC",
    "depth": "convolutions in series",
    "mflops": "MFLOP an example",
    "latency_ms": "latency (ms)",
    "milliseconds": "time (ms)",
    "images_per_second": "images a second",
    "seconds": "time (s)",
    "num_params": "parameters",
    "kl": "KL to the prior (nats)",
    "w2": "W2",
    "w2_with_data": "W2 to NUTS, with data",
    "w2_without_data": "W2 to NUTS, without",
    "symmetric_kl": "symmetric KL (nats)",
    "gradients": "full gradients",
    "gap": "gap (points)",
    "mean_std": "mean σ of the weights",
    "start_std": "σ at the start",
    "std_ratio": "ratio",
    "auroc_total": "AUROC, total",
    "auroc_aleatoric": "AUROC, aleatoric",
    "p_value": "p-value",
    "rhat": "R-hat",
    "error_percent": "test error (%)",
    "validation_error_percent": "validation error (%)",
    "log_likelihood": "log likelihood (nats)",
}
"""What figures are called that are not called by their name in the rows."""

NAMES = {
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "rotten_tomatoes": "Rotten Tomatoes",
}
"""What levels are called, of which a setting has another name."""


def label(name: str) -> str:
    """What a figure or field is called in tables and on axes: ``mean_accuracy``, mean accuracy."""
    return LABELS.get(name, name.replace("_", " "))


def show(value: Cell) -> str:
    """A value as people read it: four significant digits, thousands apart, yes or no."""
    match value:
        case bool():
            return "yes" if value else "no"
        case Integral():
            return f"{value:,}"
        case Real():
            return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"
        case _:
            return str(value)


def aligned(column: Sequence[Cell]) -> list[str]:
    """The cells of a column, fractions with as many digits after the point as any of them needs."""
    texts = [show(value) for value in column]
    fractions = [value for value in column if isinstance(value, float)]
    if any(abs(x) >= 100 or "e" in f"{x:.4g}" for x in fractions):
        return texts
    digits = max((len(f"{x:.4g}".partition(".")[2]) for x in fractions), default=0)
    return [
        f"{value:.{digits}f}" if isinstance(value, float) else text
        for value, text in zip(column, texts)
    ]


def moment(iso: str) -> str:
    """A moment as people write it: 26 November 2026, 06:48."""
    time = datetime.fromisoformat(iso)
    return f"{time.day} {time:%B %Y, %H:%M}"


def duration(seconds: float) -> str:
    """A duration in its two largest units: 12 min 36 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = {"d": days, "h": hours, "min": minutes, "s": seconds}
    first = next((i for i, number in enumerate(parts.values()) if number), 3)
    return " ".join(f"{number} {unit}" for unit, number in [*parts.items()][first : first + 2])


def listed(parts: Iterable[str]) -> str:
    """Parts of a sentence, each once: ``a, b and c``."""
    *most, last = dict.fromkeys(parts)
    return f"{', '.join(most)} and {last}" if most else last


def named(fields: Mapping[str, Any]) -> str:
    """Where a figure is from; a bare number says of what: ``mean field, temperature 0.1``."""
    is_bare = lambda value: isinstance(value, int | float | np.number)
    return ", ".join(
        f"{label(of)} {x:g}" if is_bare(x) else NAMES.get(x, str(x)) for of, x in fields.items()
    )
