"""Laplace's approximation: the Gaussian that fits the log joint around trained weights."""

from collections.abc import Iterable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jfractal import ops
from jfractal.arguments import check_choice, naming
from jfractal.concrete import concrete
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.batch import Batch
from jfractal.inference.curvature import Leaves, gauss_newton
from jfractal.inference.method import check_model
from jfractal.inference.model import Model
from jfractal.inference.structure import STRUCTURES
from jfractal.inference.trained import trained
from jfractal.out_of_memory import out_of_memory
from jfractal.posterior.gaussian import Where, everywhere
from jfractal.posterior.kronecker_gaussian import as_matrix
from jfractal.posterior.laplace import Laplace
from jfractal.posterior.leaves import select
from jfractal.typing import Params, Scalar, Variables

__all__ = ["laplace"]

COPIES = 5  # of a matrix that is factorised: itself, its parts, its root, the inverse


@out_of_memory(
    "the curvature",
    "lower `batch_size`, choose fewer weights by `where`, or another `structure`",
)
def laplace(
    model: Model,
    params: Params | Variables,
    data: Batch | Iterable[Batch],
    *,
    where: Where = everywhere,
    structure: Literal["full", "diagonal", "kronecker"] = "full",
    batch_size: int | None = None,
) -> Laplace:
    """``q(w) = N(ŵ, (G + P)⁻¹)`` around trained weights ŵ, however they were trained.

    G is the Gauss–Newton matrix of the likelihood over all data, see `gauss_newton`, and P the
    curvature of the prior. The approximation is exact for a Gaussian posterior. `predict` runs the
    net linearized at ŵ, because q is the posterior of that model, see `linearize`. If only the last
    layer is uncertain, the linearized net is the net itself.

    `structure` says how much of G is kept. ``full`` keeps the whole matrix over all weights that
    `where` picks. ``diagonal`` keeps the diagonal: each variance is that of a weight given all
    others, as for the best mean-field Gaussian. ``kronecker`` reads each leaf as a matrix "inputs
    outputs" and keeps the Kronecker product ``A ⊗ B / tr A`` of the partial traces of its block.
    Every leaf of every net has these traces, whatever layer it belongs to. K-FAC, by contrast,
    assumes that the inputs of a layer and the gradients of its outputs are independent. Both are
    exact if only one example or one output direction counts.

    Args:
        model: Net, prior and likelihood. The net runs in evaluation mode.
        params: ŵ: the weights, or all variables of the model, ``{"params": ..., "batch_stats":
            ...}``. Gaussian leaves are replaced by their means.
        data: All inputs and targets, ``(x, y)``, trees of arrays; or an iterable of such batches,
            which is read once.
        where: ``where(path, leaf)`` picks the leaves that become uncertain, e.g.
            ``lambda path, leaf: path.startswith("head/")``; the others stay at ŵ.
        structure: ``full``, ``diagonal`` or ``kronecker``. For d weights, ``full`` stores about
            5 d² numbers and ``diagonal`` 2 d; ``kronecker`` stores about 5 d² for each side of
            length d of every leaf.
        batch_size: Examples whose Jacobians, "batch outputs weights", are in memory at a time. By
            default, as many as memory allows.

    Returns:
        A `Laplace` posterior. Its `log_marginal_likelihood` compares priors and nets.

    Raises:
        InputError: If an argument is out of range, `where` picks nothing, the matrices do not fit
            into memory, the log joint is not finite, or it does not curve downwards in every
            direction. Under `jit`, the last two give draws of NaN instead. ``diagonal`` needs a
            prior that is independent over weights; ``kronecker`` needs a prior that gives all
            weights of a leaf the same curvature.

    Example:
        ::

            last = lambda path, leaf: path.startswith("layers_2/")
            q = jf.laplace(model, params, (x, y), where=last)
            p = jf.predict(model, q, x, key, num_samples=100)

    References:
        MacKay, Neural Computation 1992; Daxberger et al., "Laplace redux", NeurIPS 2021; Immer et
        al., "Scalable marginal likelihood estimation for model selection in deep learning", ICML
        2021. Partial traces: Morwani et al., "A new perspective on Shampoo's preconditioner",
        ICLR 2025; K-FAC: Martens & Grosse, ICML 2015.
    """
    check_model(model)
    check_choice("structure", structure, STRUCTURES)
    if batch_size is not None:
        check_counts(batch_size=batch_size)
    weights, variables = trained(params, "laplace")
    chosen = select(weights, where)
    kept = STRUCTURES[structure]
    _check_memory(structure, chosen)
    everything = {"params": weights, **variables}
    with naming("data"):
        total = gauss_newton(model, everything, chosen, data, kept.contract, batch_size=batch_size)
    wide = jax.tree.map(lambda w: w.astype(jnp.promote_types(w.dtype, jnp.float32)), chosen)
    log_joint = total.log_likelihood + model.prior.tree_log_prob(wide)
    _check_finite(total.log_likelihood, log_joint)
    gaussian, log_det = kept.gaussian(model.prior, total.parts, wide, weights, variables)
    num_weights = sum(w.size for w in chosen.values())
    evidence = log_joint + num_weights / 2 * jnp.log(2 * jnp.pi) - log_det / 2
    return Laplace(gaussian, evidence, tuple(chosen))


def _check_memory(structure: str, chosen: Leaves) -> None:
    """Refuses matrices that would take more memory than there is."""
    sizes = {path: jax.eval_shape(as_matrix, w).shape for path, w in chosen.items()}
    sides = STRUCTURES[structure].sides(list(sizes.values()))
    needed, available = COPIES * 4 * sum(side**2 for side in sides), ops.device_memory()
    if needed > available:
        raise InputError(
            f"`structure={structure!r}` needs matrices of up to {max(sides):,} rows, "
            f"{needed / 2**30:,.0f} GiB of {available / 2**30:,.0f}: choose another `structure`, "
            "or fewer weights by `where`, such as those of the last layer"
        )


def _check_finite(log_likelihood: Scalar, log_joint: Scalar) -> None:
    for name, value in (("likelihood", log_likelihood), ("joint", log_joint)):
        known: Any = concrete(value)
        if known is not None and not np.isfinite(known):
            raise InputError(
                f"the log {name} must be finite at `params`, got {known}: are the weights finite, "
                "and the targets what the likelihood takes?"
            )
