"""Errors for fits that produce numbers that are not finite, with advice on what to try."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfractal import ops
from jfractal.errors import DivergenceError
from jfractal.inference.method import Method
from jfractal.posterior.gaussian import Gaussian
from jfractal.training.plan import Plan

__all__ = ["check_figures", "check_posterior"]


def check_figures(method: Method, plan: Plan, rows: Mapping[str, np.ndarray], first: int) -> None:
    """Raises an error if a metric is NaN or infinite.

    Args:
        method: The method that is fitted.
        plan: The arguments of the fit.
        rows: Metrics by name, "steps" or "steps members".
        first: Number of steps taken before these rows.

    Raises:
        DivergenceError: If a metric is NaN or infinite.
    """
    bad = {name: ~np.isfinite(x.reshape(len(x), -1)) for name, x in rows.items()}
    steps = np.any([x.any(1) for x in bad.values()], axis=0)
    if not steps.any():
        return
    row = int(np.argmax(steps))
    parts = [name for name, x in bad.items() if x[row].any()]
    name = next((part for part in parts if part != "loss"), parts[0])
    value = rows[name].reshape(len(bad[name]), -1)[row][bad[name][row]][0]
    of = f" of members {_listed(bad[name][row])}" if rows[name].ndim > 1 else ""
    raise DivergenceError(
        f"`{name}`{of} is {value} at step {first + row + 1} of {method.name}. {_advice(plan)}"
    )


def check_posterior(method: Method, plan: Plan, state: Any, step: int) -> None:
    """Raises an error if the posterior of a state holds a NaN or an infinity.

    Raises:
        DivergenceError: If it does.
    """
    if _is_finite(method.posterior(state)):
        return
    raise DivergenceError(
        f"the weights are not finite after step {step} of {method.name}. {_advice(plan)}"
    )


def _advice(plan: Plan) -> str:
    data = "The data are finite numbers" + (", before `augment`" if plan.augment else "")
    return (
        f"{data}. Try a smaller learning rate, one that warms up, or gradient clipping "
        "(`optax.clip_by_global_norm`); earlier checkpoints are kept"
    )


def _listed(bad: np.ndarray) -> str:
    return ", ".join(map(str, np.flatnonzero(bad)))


@ops.jit
def _is_finite(tree: Any) -> Any:
    is_gaussian = lambda x: isinstance(x, Gaussian)
    # By its deviation, which is 0 where the rho of a pruned weight is -∞.
    parts = [
        (leaf.mean, leaf.std) if is_gaussian(leaf) else leaf
        for leaf in jax.tree.leaves(tree, is_leaf=is_gaussian)
    ]
    floats = [x for x in jax.tree.leaves(parts) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in floats]))
