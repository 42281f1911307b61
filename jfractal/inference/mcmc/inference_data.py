"""Markov chains in the format of ArviZ."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jfractal.errors import InputError

__all__ = ["inference_data"]

SAMPLE_STATS = {
    "log_joint": "lp",
    "accept_prob": "acceptance_rate",
    "num_gradients": "n_steps",
    "divergences": "diverging",
}
"""ArviZ's names of statistics."""


def inference_data(weights: Mapping[str, Any], statistics: Mapping[str, Any]) -> Any:
    """An InferenceData, or a DataTree with ArviZ 1.0 and newer.

    In both, and in netCDF files, a slash starts a group. The parts of a path are therefore joined
    by dots: ``block1/conv/kernel`` becomes ``block1.conv.kernel``.

    Args:
        weights: Draws by path, "chains draws ...".
        statistics: Statistics of each draw by name, "chains draws".

    Raises:
        InputError: If ArviZ is not installed, or two weights would get the same name.
    """
    try:
        import arviz
    except ImportError as error:
        message = "`to_arviz` needs ArviZ: pip install 'jfractal[arviz]'"
        raise InputError(message) from error
    # Weights that are one array have no path.
    named = {path.replace("/", ".") or "params": np.asarray(w) for path, w in weights.items()}
    if len(named) < len(weights):
        raise InputError(
            f"`to_arviz` needs paths that differ in more than '/' and '.', got {[*weights]}"
        )
    known = {SAMPLE_STATS.get(name, name): np.asarray(x) for name, x in statistics.items()}
    known["diverging"] = known["diverging"] > 0
    groups: dict[str, Any] = {"posterior": named, "sample_stats": known}
    takes_groups_by_name = arviz.__version__.startswith("0.")
    return arviz.from_dict(**groups) if takes_groups_by_name else arviz.from_dict(groups)
