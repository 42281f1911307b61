"""What a model answers under draws of its weights."""

from typing import Any

import jax
from jax.sharding import Mesh

from jfractal.posterior.posterior import Posterior
from jfractal.predict.gathering import KEPT
from jfractal.predict.passes import run
from jfractal.predict.question import Question, check_apply
from jfractal.typing import Apply, Array, Float, KeyArray

__all__ = ["sample_outputs"]


def sample_outputs(
    apply: Apply,
    posterior: Posterior,
    x: Any,
    key: KeyArray,
    *,
    num_samples: int = 32,
    batch_size: int | None = None,
    samples_per_pass: int | None = None,
    mesh: Mesh | None = None,
) -> Float[Array, "samples batch *event"]:
    """The outputs of a net under draws of its weights, ``apply(w_s, x)`` with ``w_s ~ p(w | D)``.

    Draw s is one network for all of `x`, whatever the batches and devices. Within a pass draws are
    vmapped; memory grows with `samples_per_pass` and `batch_size`, and with `num_samples` only by
    the outputs. Time grows linearly in both `num_samples` and the number of examples.

    Members of an ensemble, or stored draws, are taken at even distances (systematic sampling): each
    equally often as far as possible, and each exactly once if there are `num_samples` of them.

    Args:
        apply: ``apply(variables, x) -> outputs``, e.g. ``net.apply``; one of an equal net is not
            compiled again.
        posterior: A pytree with ``sample(key) -> variables``: `MeanField`, `Point`, `Samples`, …;
            one of M members has ``member(u) -> posterior``, member ⌊u·M⌋ for u in [0, 1). A
            posterior of another model than the net, such as its linearization, has
            ``predictive(apply) -> apply``, which runs in its place.
        x: Inputs, an array or a tree of arrays with the same leading batch axis, at least one
            example. May be traced: `jax.jit`, `jax.vmap` and `jax.grad` pass through.
        key: Random key.
        num_samples: Number of draws, at least 1.
        batch_size: Examples in a pass, on all devices together; as many as memory allows if left
            out, see `ops.memory_budget`. A last batch that is not full is padded, so that nothing
            is compiled twice.
        samples_per_pass: The most draws to vmap in a pass, on each device; as many as are faster
            together than in turn if left out, see `ops.side_by_side_budget`.
        mesh: Devices to work side by side, with axes ``data`` (each takes a part of a batch) or
            ``samples`` (each takes a part of the draws) or both; where JAX puts arrays by
            default if left out. With more than one process, all of them call with equal
            arguments and receive equal outputs.

    Returns:
        Outputs, "samples batch *event", as the net computes them; a tree of them if it gives one.

    Raises:
        InputError: If `apply` is no function, a number is smaller than 1 or no integer, `x` holds
            no example, `mesh` has other axes, or `posterior` cannot be drawn from.
    """
    check_apply(apply, "apply", "a function `apply(variables, x)`, such as `net.apply`")
    outputs = run(
        Question(apply, _as_they_are),
        KEPT,
        posterior,
        x,
        key,
        num_samples=num_samples,
        batch_size=batch_size,
        samples_per_pass=samples_per_pass,
        mesh=mesh,
    )
    return jax.tree.map(lambda a: a[:num_samples], outputs)


def _as_they_are(outputs: Any) -> Any:
    return outputs
