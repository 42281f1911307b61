"""Checks of the arguments of all metrics, and their conversion to float32 or wider.

Values are checked if they are concrete. Under `jax.jit` only shapes and dtypes are checked, at no
cost.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jfractal.arguments import as_array, check_finite, check_values, described
from jfractal.concrete import concrete
from jfractal.errors import InputError
from jfractal.typing import Array, Bool, Float, Int

__all__ = [
    "check_labels",
    "labelled",
    "log_probabilities",
    "log_shares",
    "logits",
    "matched",
    "mixture",
    "non_negative",
    "probabilities",
    "real",
    "scores",
    "truths",
]

TOLERANCE = 1e-3  # of a sum of probabilities, as in a table of few digits


def real(name: str, value: ArrayLike, axes: str = "*batch") -> Float[Array, "..."]:
    """Finite numbers.

    Args:
        name: Name of the argument, for the message.
        value: The value that the caller gave.
        axes: Axes that it must have, none of them empty; ``*batch`` stands for any number of axes.

    Returns:
        The array, in float32 or wider.

    Raises:
        InputError: If `value` is anything else.
    """
    x = _shaped(name, value, axes)
    check_finite(name, x)
    return _single(x)


def non_negative(
    name: str, value: ArrayLike, axes: str = "*batch", *, zero: bool = True
) -> Float[Array, "..."]:
    """Finite numbers of at least 0, or above 0, such as standard deviations. See `real`."""
    x = _shaped(name, value, axes)
    check_values(name, x, "finite", np.isfinite)
    if zero:
        check_values(name, x, "at least 0", lambda x: x >= 0)
    else:
        check_values(name, x, "above 0", lambda x: x > 0)
    return _single(x)


def scores(name: str, value: ArrayLike, axes: str = " batch") -> Float[Array, "..."]:
    """Numbers of which only the order counts: they may be infinite, but not NaN."""
    x = _shaped(name, value, axes)
    check_values(name, x, "numbers, not NaN", lambda x: ~np.isnan(x))
    return _single(x)


def logits(name: str, value: ArrayLike, axes: str = "*batch classes") -> Float[Array, "..."]:
    """Log-probabilities up to a constant: not NaN, not +∞, and not probabilities. See `real`."""
    x = _shaped(name, value, axes)
    check_values(name, x, "log-probabilities or logits", lambda x: x < np.inf)
    known = concrete(x)
    if known is not None and known.shape[-1] > 1 and _are_probabilities(known, _slack(x)):
        raise InputError(
            f"`{name}` must be log-probabilities or logits, got probabilities: take their log"
        )
    return _single(x)


def probabilities(name: str, value: ArrayLike, axes: str = "*batch classes") -> Float[Array, "..."]:
    """Numbers of at least 0 that sum to 1 over the last axis. See `real`."""
    x = _shaped(name, value, axes)
    known = concrete(x)
    if known is not None and not _are_probabilities(known, _slack(x)):
        raise InputError(
            f"`{name}` must be probabilities that sum to 1 over the last axis, got "
            f"{_described_sums(known, np.asarray)}"
        )
    return _single(x)


def log_probabilities(
    name: str, value: ArrayLike, axes: str = "*batch classes"
) -> Float[Array, "..."]:
    """Logs of numbers that sum to 1 over the last axis; −∞ is the log of 0. See `real`."""
    x = _shaped(name, value, axes)
    known = concrete(x)
    if known is not None and not _are_log_probabilities(known, _slack(x)):
        raise InputError(
            f"`{name}` must be log-probabilities, whose exponentials sum to 1 over the last axis, "
            f"got {_described_sums(known, np.exp)}"
        )
    return _single(x)


def log_shares(
    value: ArrayLike | None,
    num_samples: int,
    of: str,
    kind: Callable[..., Array] = log_probabilities,
) -> Float[Array, " samples"]:
    """The argument `log_weights`: log of the share of each draw of `of`; by default, all equal."""
    if value is None:
        return jnp.full(num_samples, -jnp.log(num_samples))
    shares = kind("log_weights", value, "samples")
    if shares.shape != (num_samples,):
        raise InputError(
            f"`log_weights` must be one number for each draw of `{of}`, shape {(num_samples,)}, "
            f"got {shares.shape}"
        )
    return shares


def check_labels(
    value: ArrayLike, shape: tuple[int, ...], num_classes: int, of: str, name: str = "labels"
) -> Int[Array, "..."]:
    """The argument `labels`: integers in ``[0, num_classes)``, one for each example of `of`."""
    labels = as_array(name, value)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise InputError(f"`{name}` must be integers, got {described(labels)}")
    if labels.shape != shape:
        raise InputError(
            f"`{name}` must have shape {shape}, one class per example of `{of}`, got {labels.shape}"
        )
    what = f"in [0, {num_classes}), the classes of `{of}`"
    check_values(name, labels, what, lambda y: (y >= 0) & (y < num_classes))
    return jnp.asarray(labels)


def labelled(
    kind: Callable[..., Array],
    labels: ArrayLike,
    axes: str = "*batch classes",
    **classified: ArrayLike,
) -> tuple[Array, Int[Array, "..."]]:
    """Predictions of classes, checked by a function `kind` of this file, and their labels.

    ``labelled(probabilities, labels, probs=probs)``
    """
    ((name, value),) = classified.items()
    x = kind(name, value, axes)
    return x, check_labels(labels, x.shape[:-1], x.shape[-1], name)


def matched(
    kind: Callable[..., Array], axes: str, **arrays: ArrayLike
) -> tuple[Float[Array, "..."], ...]:
    """Arrays of one kind and one shape."""
    found = {name: kind(name, value, axes) for name, value in arrays.items()}
    first, *others = found
    for name in others:
        if found[name].shape != found[first].shape:
            raise InputError(
                f"`{name}` must have the shape of `{first}`, {found[first].shape}, got "
                f"{found[name].shape}"
            )
    return tuple(found.values())


def mixture(
    means: ArrayLike, scales: ArrayLike, *, zero: bool = False
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The arguments `means` and `scales`: components of normal mixtures, on the first axis."""
    means = real("means", means, "samples *batch")
    scales = non_negative("scales", scales, "samples *batch", zero=zero)
    if scales.shape != means.shape:
        raise InputError(
            f"`scales` must have the shape of `means`, {means.shape}, got {scales.shape}"
        )
    return means, scales


def truths(name: str, value: ArrayLike, shape: tuple[int, ...], of: str) -> Bool[Array, "..."]:
    """Booleans, or numbers that are 0 or 1, of the shape of another argument."""
    x = as_array(name, value)
    if x.shape != shape:
        raise InputError(f"`{name}` must have the shape of `{of}`, {shape}, got {x.shape}")
    check_values(name, x, "true or false", lambda x: (x == 0) | (x == 1))
    return jnp.asarray(x, bool)


def _shaped(name: str, value: ArrayLike, axes: str) -> Array | np.ndarray:
    x = as_array(name, value)
    named = [word for word in axes.split() if not word.startswith("*")]
    if x.ndim < len(named) or (x.ndim > len(named) and "*" not in axes) or x.size == 0:
        raise InputError(
            f"`{name}` must have the axes `{axes.strip()}`, none of them empty, got shape {x.shape}"
        )
    return x


def _single(x: Array | np.ndarray) -> Float[Array, "..."]:
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _slack(x: Any) -> float:
    """Tolerance of a sum: half precision rounds every term."""
    is_exact = not jnp.issubdtype(x.dtype, jnp.floating)
    return TOLERANCE if is_exact else max(TOLERANCE, 8 * float(jnp.finfo(x.dtype).eps))


def _are_probabilities(x: np.ndarray, slack: float) -> bool:
    x = np.asarray(x, np.result_type(_numpy(x), np.float32))
    return bool(np.all(x >= 0) and np.all(np.abs(x.sum(-1) - 1) <= slack))


def _are_log_probabilities(x: np.ndarray, slack: float) -> bool:
    x = _numpy(x)
    return bool(np.all(x <= slack) and np.all(np.abs(np.exp(x).sum(-1) - 1) <= slack))


def _numpy(x: np.ndarray) -> np.ndarray:
    """In a native NumPy dtype that is wide enough for sums."""
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)


def _described_sums(x: np.ndarray, to_probs: Callable[[np.ndarray], np.ndarray]) -> str:
    with np.errstate(over="ignore", invalid="ignore"):
        sums = to_probs(_numpy(x)).sum(-1)
    return f"{described(x)}, which make sums from {sums.min():g} to {sums.max():g}"
